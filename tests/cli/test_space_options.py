"""``--without``, ``--protect``, ``--inside``, ``--start-from``: what reaches a search, and what is
refused before a model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.cli.space_options import read_space
from circuitgraph.jobs.judge import make_search
from circuitgraph.models.language_model import LanguageModel
from tests.cli.conftest import Ran, call, files_below

SEARCH = ("discover", "induction", "--limit", 6, "--algorithm", "random", "--json")


@pytest.fixture(scope="module")
def narrow(
    tmp_path_factory: pytest.TempPathFactory, finished: tuple[Path, Ran]
) -> tuple[Path, Ran]:
    """A search inside the finished run."""
    folder = tmp_path_factory.mktemp("narrow") / "run"
    space = ("--inside", finished[0], "--without", "a0.h3", "--protect", "embed->a1.h6<q>")
    return folder, call(*SEARCH, "--n-edges", 4, *space, "--out", folder)


def test_a_search_stays_in_its_space_and_the_record_says_which(
    narrow: tuple[Path, Ran], finished: tuple[Path, Ran]
) -> None:
    folder, ran = narrow
    assert ran.code == 0, ran.err
    record, circuit = json.loads(ran.out), load_circuit(folder)
    inside = load_circuit(finished[0])
    assert circuit <= inside
    assert "embed->a1.h6<q>" in circuit
    assert not [edge for edge in circuit if "a0.h3" in edge]
    assert record["space"] == {
        "without": ["a0.h3"],
        "protect": ["embed->a1.h6<q>"],
        "inside": inside.edges,
        "start_from": None,
    }
    assert record["algorithm"]["n_selected"] == 4
    assert json.loads((finished[0] / "circuit.json").read_text())["space"] is None


def test_a_stored_search_is_repeated_in_its_space(
    narrow: tuple[Path, Ran], shipped: LanguageModel
) -> None:
    from circuitgraph.tasks.loading import load_task

    circuit = load_circuit(narrow[0])
    repeat_search = make_search(shipped, circuit)
    assert repeat_search is not None
    assert repeat_search(load_task("induction", shipped).prompts(6)) == circuit


def test_all_edges_of_a_stored_circuit_can_be_protected(finished: tuple[Path, Ran]) -> None:
    space = read_space(None, ["m0", str(finished[0])], None, None)
    assert space == {"protect": ["m0", *load_circuit(finished[0]).edges]}
    assert read_space(None, None, None, None) == {}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--inside", "nowhere"), ["no circuit at 'nowhere'", "circuit.json"]),
        (("--start-from", "nowhere"), ["no circuit at 'nowhere'"]),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_circuits_that_are_not_there(
    run: Callable[..., Ran], args: tuple[str, ...], words: list[str]
) -> None:
    ran = run("discover", "induction", *args)
    assert (ran.code, ran.out) == (2, "")
    assert [word for word in words if word not in ran.err] == []
    assert files_below(Path()) == set()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--without", "a0.h33"), ["'a0.h33'. Did you mean 'a0.h3'", "'mlps'"]),
        (("--protect", "a0.h1->a0.h2<q>"), ["a0.h2<q> does not come after a0.h1"]),
        (("--without", "layer 1", "--protect", "a1.h0"), ["left out", "a1.h0"]),
    ],
)
def test_names_that_stand_for_nothing_leave_nothing_behind(
    run: Callable[..., Ran], args: tuple[str, ...], words: list[str]
) -> None:
    ran = run(*SEARCH, *args)
    assert (ran.code, ran.out) == (2, "")
    assert [word for word in words if word not in ran.err] == [], ran.err
    assert files_below(Path()) == set()


def test_edges_on_no_path_are_counted_in_the_first_line(run: Callable[..., Ran]) -> None:
    ran = run(*SEARCH[:-1], "--n-edges", 6)
    assert ran.code == 0, ran.err
    n_edges = int(ran.out.split(" of 257 edges")[0])
    assert n_edges < 6
    dropped = f"6 edges were selected; {6 - n_edges} of them lie on no path"
    assert dropped in ran.out.splitlines()[0]
