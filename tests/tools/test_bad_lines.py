"""Some of the command lines that the tool tries are refused, and what is not refused is seen."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = str(Path(__file__).resolve().parents[2] / "tools")
sys.path.insert(0, TOOLS)
try:
    bad_lines: Any = importlib.import_module("bad_lines")
finally:
    sys.path.remove(TOOLS)
LINES: list[Any] = bad_lines.list_lines()


@pytest.fixture(autouse=True)
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the commands are given."""
    monkeypatch.chdir(tmp_path)
    for name, value in bad_lines.SETTINGS.items():
        monkeypatch.setenv(name, value)
    bad_lines.write_given(Path("given"))


# The tool tries them all; `test` starts pytest anew for each.
@pytest.mark.parametrize(
    "line",
    [line for line in LINES[31::19] if line.words[0] != "test"],
    ids=str,
)
def test_a_line_without_sense_is_refused_clearly(line: Any) -> None:
    assert bad_lines.find_problem(line, bad_lines.run_words) is None


def test_every_option_of_every_command_is_tried() -> None:
    assert len(LINES) > 300
    assert {line.words[0] for line in LINES} > {*(name.split()[0] for name in bad_lines.BASES)}
    assert len({line.words for line in LINES}) == len(LINES)


@pytest.mark.parametrize(
    ("ran", "problem"),
    [
        ((0, "", ""), "status 0"),
        ((1, "", "Traceback"), "status 1"),
        ((2, "", "Error: 'zzz' must be a task."), None),
        ((2, "", "Error: it must be a task."), "it does not name what was given"),
        ((2, "", "Error: 'zzz' is wrong."), "it does not say what to do"),
        ((2, "", "Error: 'zzz' must \x1b[2J"), "letters that cannot be printed"),
        ((2, "zzz", "Error: 'zzz' must be a task."), "something on stdout"),
        ((2, "", "Traceback: 'zzz' must be a task."), "a traceback"),
    ],
)
def test_what_is_wrong_with_a_refusal_is_seen(
    ran: tuple[int, str, str], problem: str | None
) -> None:
    line = bad_lines.Line(("discover", "zzz"), ("zzz",))
    seen = bad_lines.find_problem(line, lambda *words: bad_lines.Ran(*ran))
    assert (seen is None) if problem is None else problem in seen


def test_an_exception_is_seen() -> None:
    def run(*words: str) -> None:
        raise KeyError("zzz")

    assert "KeyError" in bad_lines.find_problem(bad_lines.Line(("discover",), ("",)), run)
