"""The tutorial from a circuit to a hypothesis: its commands run, and what it quotes comes out."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.users import Sitting

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "from-circuit-to-hypothesis.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sitting]:
    """Follows the page in an empty folder."""
    with Sitting(tmp_path_factory.mktemp("page")) as sitting:
        yield sitting


def quote(pattern: str) -> str:
    """A line of the page, which must hold it: words with single spaces."""
    line = re.search(pattern, PAGE)
    assert line is not None, pattern
    return " ".join(line.group().split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("discover", r"26 of 110 edges, 10 nodes"),
        ("role-attention", r"a0\.h2  0\.837"),
        ("direct-logits", r"m1 +19\.995"),
    ],
)
def test_a_command_says_what_the_page_quotes(user: Sitting, name: str, pattern: str) -> None:
    (command,) = [line for line in COMMANDS if name in line.split()]
    ran = user.circuitgraph(*shlex.split(command)[1:])
    assert ran.returncode == 0, ran.stderr
    assert quote(pattern) in re.sub(r" +", " ", ran.stdout)


@pytest.mark.slow
def test_the_longer_hypothesis_is_no_better(user: Sitting, tmp_path: Path) -> None:
    """With fewer prompts than on the page, where 2,000 refute it, it is never better."""
    variables, rival = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    mine = tmp_path / "mine.py"
    shutil.copy(ROOT / "hypotheses" / "addition.py", mine)
    site, before = '@H.var(at=mlp(1) @ "end"', "def settled(mixed, fetched):"
    text = mine.read_text()
    assert text.count(site) == text.count(before) == 1
    text = text.replace(site, f"{variables}\n\n{site}")
    text = text.replace(before, "def settled(mixed, fetched, remembered):")
    mine.write_text(f"{text}\n\n{rival}")
    scrubbed = user.circuitgraph("scrub", mine, "--limit", "100")
    assert scrubbed.returncode == 1, scrubbed.stderr
    said = " ".join(scrubbed.stdout.split())
    assert "'a1.h3 says nothing'" in said
    assert ": not shown, " in said or ": refuted, " in said
