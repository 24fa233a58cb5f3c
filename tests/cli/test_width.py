"""Tables fit, wherever they are printed: nothing is cut, and no line ends in blanks."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from circuitgraph.cli.main import app
from circuitgraph.cli.output import Output
from circuitgraph.cli.tables import make_table
from tests.cli.conftest import Ran

LONG = "a_heading_that_is_longer_than_its_numbers"


def print_table(monkeypatch: pytest.MonkeyPatch, columns: int | None) -> str:
    """What a table of eight columns looks like in a pipe, with its title."""
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{stream}", io.StringIO())
    output = Output(as_json=False, quiet=False)
    table = make_table("A title of several words that is longer than the table", "x", *([LONG] * 3))
    table.add_row("name", "1", "2", "3")
    output.print_result("", table)
    assert isinstance(sys.stdout, io.StringIO)
    return sys.stdout.getvalue()


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_nothing_is_cut_and_nothing_is_padded(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    text = print_table(monkeypatch, columns)
    assert "…" not in text
    letters = "".join(text.split())
    assert all(letters.count(letter) >= 3 * LONG.count(letter) for letter in set(LONG))
    assert max(map(len, text.splitlines())) <= columns
    assert all(line == line.rstrip() for line in text.splitlines())


def test_where_nothing_is_a_terminal_a_table_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    text = print_table(monkeypatch, None)
    assert f"{LONG}  {LONG}  {LONG}" in text


@pytest.mark.parametrize("columns", ["80", "160"])
def test_no_name_of_an_option_is_cut_in_any_help(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    texts = {name: run(name, "--help").out for name in commands}
    assert [name for name, text in texts.items() if "…" in text] == []
    assert "--ignore-config-field " in texts["discover"]
