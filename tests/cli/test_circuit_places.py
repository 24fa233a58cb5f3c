"""Commands take a circuit by its folder, by its file, or by its name in a catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.store import Catalog
from tests.cli.conftest import Ran

NAME = "induction-2l/induction/acdc"
RUN = Path(__file__).parents[2] / "catalog" / "circuits" / NAME
Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CIRCUITGRAPH_CATALOG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_made_of_an_entry_is_written_here(run: Run, empty_folder: Path) -> None:
    before = sorted(path.name for path in RUN.iterdir())
    for command in ("render", "view --no-open"):
        ran = run(*command.split(), NAME)
        assert ran.code == 0, ran.err
    assert {path.name for path in empty_folder.iterdir()} == {"circuit.svg", "circuit.html"}
    assert sorted(path.name for path in RUN.iterdir()) == before


def test_a_folder_here_comes_before_an_entry(run: Run, empty_folder: Path) -> None:
    (empty_folder / NAME).mkdir(parents=True)
    ran = run("render", NAME)
    assert ran.code == 2
    assert "There is no circuit at" in ran.err


def test_another_catalog(run: Run, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalog("mine").add(RUN, name="mine/of/me")
    monkeypatch.setenv("CIRCUITGRAPH_CATALOG", "mine")
    exported = run("catalog", "export", "mine/of/me", "-o", "edges.csv")
    assert exported.code == 0, exported.err
    assert run("render", NAME).code == 2  # the shipped catalog is no longer looked in


def test_a_bound_of_a_search(run: Run) -> None:
    ran = run("discover", "induction", "--inside", "ioi/ioi/acdc", "--dry-run", "--limit", "4")
    assert ran.code == 2
    assert "The circuit of inside is of another graph" in ran.err  # so it was read


def test_a_wrong_name_is_told_with_near_ones(run: Run) -> None:
    ran = run("evaluate", "induction-2l/induction/acdx")
    assert ran.code == 2
    assert "There is no circuit at 'induction-2l/induction/acdx'" in ran.err
    assert f"Did you mean {NAME!r}" in ran.err
