"""The tutorial's commands and code, one after the other, do what it says they do."""

from __future__ import annotations

import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.users import Sitting

PAGE = (Path(__file__).parents[1] / "docs" / "first-hypothesis.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
][1:]


def follow(sitting: Sitting, command: str) -> CompletedProcess[str]:
    program, *arguments = re.findall(r'"[^"]*"|\S+', command)
    assert program == "circuitgraph"
    return sitting.circuitgraph(*(argument.strip('"') for argument in arguments))


def write_functions(file: Path, block: str) -> None:
    """Put the block's functions in place of those of the same names."""
    text = file.read_text()
    for name, body in re.findall(r"def (\w+)\([^)]*\):\n(    .*?\n)(?:\n|$)", block, re.DOTALL):
        text, n = re.subn(
            rf'(def {name}\([^)]*\):\n)    """.*?"""\n    \.\.\.\n',
            rf"\1{body}",
            text,
            flags=re.DOTALL,
        )
        assert n == 1
    file.write_text(text)


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    discover, hypothesize, scrub, test, wrong = COMMANDS
    functions, claims, too_much = CODE
    mine = tmp_path / "mine.py"
    with Sitting(tmp_path) as user:
        assert "5 of 257 edges" in follow(user, discover).stdout
        assert "Functions to write: a0_h3, a1_h6, answer." in follow(user, hypothesize).stderr
        write_functions(mine, functions)
        assert all(function.strip() in mine.read_text() for function in functions.split("\n\n\n"))
        scrubbed = follow(user, scrub)
        assert scrubbed.returncode == 0, scrubbed.stderr
        assert re.search(r"0\.88 of the loss recovered.*not refuted", scrubbed.stdout, re.DOTALL)
        mine.write_text(f"{mine.read_text()}\n\n{claims}")
        held = follow(user, test)
        assert "6 claims: 6 held" in held.stdout
        assert "best rival 0.15" in held.stdout
        mine.write_text(f"{mine.read_text()}\n\n{too_much}")
        assert "2 claims: 0 held, 2 refuted" in follow(user, wrong).stdout
