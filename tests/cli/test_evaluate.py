"""``circuitgraph evaluate``: a stored circuit is judged as it was found, or refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.models.loading import shipped_models
from tests.cli.conftest import Ran
from tests.cli.test_bad_data import pair, some_pairs


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "circuit.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


@pytest.fixture
def stored(finished: tuple[Path, Ran], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished[0], tmp_path / "stored"))


def test_same_prompts_and_metric_give_the_stored_evaluation(run: Callable[..., Ran], stored: Path) -> None:
    ran = run("evaluate", stored, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == json.loads((stored / "circuit.json").read_text())["evaluation"]


def test_another_metric_limit_and_seed(run: Callable[..., Ran], stored: Path) -> None:
    ran = run("evaluate", stored / "circuit.json", "--metric", "accuracy", "--limit", 6, "--seed", 3, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["metric"], found["n_prompts"], found["seed"]) == ("accuracy", 6, 3)
    assert found["faithfulness"]["mean"] == 1.0


def test_table_and_quiet(run: Callable[..., Ran], stored: Path) -> None:
    shown = run("evaluate", stored, "--limit", 6)
    assert "logit_difference, resample ablation, 6 unseen prompts" in shown.out
    assert run("evaluate", stored, "--limit", 6, "--quiet") == Ran(0, "", "")


@pytest.mark.parametrize("hashed", ["weights", "tokenizer"])
def test_changed_model_is_refused_unless_it_is_named(run: Callable[..., Ran], stored: Path, hashed: str) -> None:
    edit(stored, lambda record: record["model"].update({f"{hashed}_sha256": "0" * 64}))
    ran = run("evaluate", stored, "--limit", 6)
    assert (ran.code, ran.out) == (2, "")
    assert f"The {hashed} of 'induction-2l' changed" in ran.err
    assert "000000000000" in ran.err
    assert "--model" in ran.err
    assert run("evaluate", stored, "--limit", 6, "--model", "induction-2l").code == 0


def test_circuit_of_another_graph(run: Callable[..., Ran], stored: Path, tmp_path: Path) -> None:
    model = shutil.copytree(shipped_models()["induction-2l"], tmp_path / "model")
    edit(stored, lambda record: record["graph"].update(n_heads=4, n_writers=9, n_readers=25, n_edges=81))
    edit(stored, lambda record: record.update(edges=[]))
    (stored / "scores.safetensors").unlink()
    ran = run("evaluate", stored, "--model", model)
    assert ran.code == 2
    assert "n_heads=4" in ran.err
    assert "n_heads=8" in ran.err


def test_arguments_of_the_task_are_those_of_the_search(run: Callable[..., Ran], stored: Path) -> None:
    edit(stored, lambda record: record["task"].update(arguments={"min_words": 5, "max_words": 5}))
    short = json.loads(run("evaluate", stored, "--limit", 6, "--json").out)
    usual = json.loads(run("evaluate", stored, "--limit", 6, "--json", "--task", "induction").out)
    assert short["prompts_sha256"] != usual["prompts_sha256"]


def test_circuit_without_a_task(run: Callable[..., Ran], stored: Path) -> None:
    edit(stored, lambda record: record.update(task=None))
    ran = run("evaluate", stored)
    assert ran.code == 2
    assert "names no task" in ran.err
    assert "--task or --data" in ran.err


@pytest.fixture
def of_data(stored: Path, tmp_path: Path, run: Callable[..., Ran]) -> tuple[Path, Path]:
    """A stored run whose prompts came from a file, and that file."""
    data = tmp_path / "pairs.jsonl"
    data.write_text(some_pairs())
    assert run("evaluate", stored, "--data", data, "--model", "induction-2l", "--json").code == 0
    from circuitgraph.api import load_task
    from circuitgraph.models.loading import load_model

    task = load_task(data, load_model("induction-2l"))
    edit(stored, lambda record: record["task"].update(name=task.name, arguments=dict(task.arguments)))
    return stored, data


def test_data_file_is_found_again_and_may_have_grown(run: Callable[..., Ran], of_data: tuple[Path, Path]) -> None:
    """Added lines cannot bring a prompt that was searched with among those to judge by."""
    stored, data = of_data
    before = run("evaluate", stored, "--json")
    assert before.code == 0, before.err
    data.write_text(data.read_text() + "\n" + "\n".join(pair(clean=f" dog {w} moon dog") for w in ("ring", "egg")))
    after = run("evaluate", stored, "--json")
    assert after.code == 0, after.err
    assert json.loads(after.out)["n_prompts"] >= json.loads(before.out)["n_prompts"]


def test_lost_data_file(run: Callable[..., Ran], of_data: tuple[Path, Path]) -> None:
    of_data[1].unlink()
    ran = run("evaluate", of_data[0])
    assert ran.code == 2
    assert f"There is no data file {str(of_data[1])!r}" in ran.err
