"""What docs/formats.md says of formats is what there is, and its commands run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.formats.base import decoders
from circuitgraph.jobs.export import encoders
from tests.cli.conftest import Ran

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


def test_the_table_is_the_registry() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| \S+ \| (yes)? ?\| (yes)? ?\|", PAGE, re.MULTILINE)
    names = sorted({*encoders.names(), *decoders.names()})
    assert sorted(rows) == [
        (name, "yes" * (name in encoders), "yes" * (name in decoders)) for name in names
    ]


def test_the_commands_run(run: Callable[..., Ran]) -> None:
    first, *others = COMMANDS
    assert first.startswith("circuitgraph discover induction")
    shipped = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
    shutil.copytree(shipped, "runs/induction")
    exchanges = [command for command in others if command.startswith("circuitgraph catalog ")]
    assert len(exchanges) == 9
    for command in exchanges:
        ran = run(*shlex.split(command)[1:])
        assert ran.code == 0, (command, ran.err)


def test_python_of_the_page(run: Callable[..., Ran], capsys: pytest.CaptureFixture[str]) -> None:
    shipped = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
    shutil.copytree(shipped, "runs/induction")
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(code, {})  # noqa: S102 - the page's own
    assert "no MLPs" in capsys.readouterr().out
    assert Path("mine.pt").is_file()
