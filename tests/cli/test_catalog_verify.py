"""``catalog verify``: what is true holds, what was changed is seen, what cannot be run is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.records import CircuitRecord
from circuitgraph.catalog.store import Catalog
from circuitgraph.errors import DataError
from circuitgraph.jobs.replay import _find_data, compare_evaluations
from tests.cli.conftest import Ran

NAME = "induction-2l/induction/acdc"
Run = Callable[..., Ran]


@pytest.fixture
def mine(tmp_path: Path, finished: tuple[Path, Ran]) -> Path:
    """A catalog with one small circuit in it."""
    Catalog(tmp_path / "mine").add(finished[0])
    return tmp_path / "mine"


def change(catalog: Path, *names: str, value: Any) -> None:
    file = catalog / NAME / "circuit.json"
    content = json.loads(file.read_text())
    holder = content
    for name in names[:-1]:
        holder = holder[name]
    holder[names[-1]] = value
    file.write_text(json.dumps(content))


def test_a_record_that_is_true_holds(run: Run, mine: Path) -> None:
    for options in ((), ("--search",)):
        ran = run("catalog", "verify", NAME, "--catalog", mine, *options)
        assert ran.code == 0, ran.out
        assert f"+ {NAME}: same" in ran.out
        assert ran.out.endswith("1 circuit, within 0.001: 1 same.\n")


@pytest.mark.parametrize(
    ("names", "value", "phrase"),
    [
        (("evaluation", "circuit", "mean"), 3.25, "circuit.mean: stored 3.25"),
        (("evaluation", "faithfulness", "low"), -9.0, "faithfulness.low: stored -9"),
        (("evaluation", "prompts_sha256"), "0" * 64, "prompts: the task gives others"),
        (("model", "weights_sha256"), "0" * 64, "The weights of 'induction-2l' changed"),
    ],
)
def test_what_was_changed_is_seen(
    run: Run, mine: Path, names: tuple[str, ...], value: Any, phrase: str
) -> None:
    change(mine, *names, value=value)
    ran = run("catalog", "verify", "--all", "--catalog", mine, "--json")
    (entry,) = json.loads(ran.out)["entries"]
    assert (ran.code, entry["outcome"]) == (1, "different")
    assert phrase in entry["problems"][0]


def test_another_circuit_is_seen_by_the_search(run: Run, mine: Path) -> None:
    file = mine / NAME / "circuit.json"
    content = json.loads(file.read_text())
    edge = content["edges"].pop()["edge"]
    file.write_text(json.dumps(content))
    (mine / NAME / "scores.safetensors").unlink()
    ran = run("catalog", "verify", NAME, "--catalog", mine, "--search")
    assert ran.code == 1
    assert f"found beside: {edge}" in ran.out


@pytest.mark.parametrize(
    ("names", "value", "phrase"),
    [
        (("model", "name"), "nowhere-at-all", "nowhere-at-all"),
        (("task", "name"), "nothing", "Unknown task 'nothing'"),
        (("model",), None, "It names no model"),
        (("evaluation",), None, "never judged"),
        (("evaluation", "n_random"), 10**12, "random circuits"),
        (("evaluation", "n_prompts"), 10**12, "the number of prompts is"),
        (("evaluation", "split"), "x", "names the split 'x'"),
    ],
)
def test_what_cannot_be_run_is_told(
    run: Run, mine: Path, names: tuple[str, ...], value: Any, phrase: str
) -> None:
    change(mine, *names, value=value)
    ran = run("catalog", "verify", "--all", "--catalog", mine, "--local-only")
    assert ran.code == 2
    assert f"? {NAME}: not run" in ran.out
    assert phrase in ran.out
    assert "1 not run" in ran.out
    assert "nothing was verified" in ran.err


def test_a_damaged_entry_is_counted_and_the_others_are_run(run: Run, mine: Path) -> None:
    (mine / "a" / "b" / "c").mkdir(parents=True)
    (mine / "a" / "b" / "c" / "circuit.json").write_text("{")
    ran = run("catalog", "verify", "--all", "--catalog", mine, "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["counts"] == {"same": 1, "different": 0, "damaged": 1, "not run": 0}


@pytest.mark.parametrize("arguments", [(), ("--all", NAME), ("--all", "--tolerance", "1")])
def test_bad_options(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("catalog", "verify", *arguments)
    assert ran.code == 2
    assert "Error: " in ran.err


def test_ends_of_intervals_may_move_a_tenth_of_their_width(finished: tuple[Path, Ran]) -> None:
    evaluation = CircuitRecord.model_validate_json((finished[0] / "circuit.json").read_text())
    old = evaluation.evaluation
    assert old is not None
    assert old.full.high > old.full.low
    width = old.full.high - old.full.low
    for share, n in ((0.09, 0), (0.11, 1)):
        full = old.full.model_copy(update={"low": old.full.low + share * width})
        new = old.model_copy(update={"full": full})
        assert len(compare_evaluations(old, new, 0.0)) == n
    nothing = old.model_copy(update={"faithfulness": None})
    assert len(compare_evaluations(old, nothing, 0.5)) == 1


def test_a_file_of_pairs_is_looked_for_by_the_end_of_its_name(tmp_path: Path) -> None:
    entry = tmp_path / "elsewhere" / "x" / "task" / "acdc"
    pairs = tmp_path / "elsewhere" / "x" / "pairs"
    entry.mkdir(parents=True)
    pairs.mkdir()
    (pairs / "p.jsonl").write_text("")
    assert _find_data("catalog/circuits/x/pairs/p.jsonl", entry) == pairs / "p.jsonl"
    with pytest.raises(DataError, match=r"'catalog/x/q\.jsonl' is not here"):
        _find_data("catalog/x/q.jsonl", entry)
