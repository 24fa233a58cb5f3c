"""``circuitgraph evaluate``: a stored circuit is judged as it was found, or refused with the
reason.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.models.loading import shipped_models
from tests.cli.conftest import Ran
from tests.cli.test_bad_data import pair, some_pairs

QUICKLY = ("--limit", 6, "--measures", "faithfulness", "--json")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "circuit.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


@pytest.fixture
def stored(finished: tuple[Path, Ran], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished[0], tmp_path / "stored"))


def test_same_prompts_and_metric_give_the_stored_evaluation(
    run: Callable[..., Ran], stored: Path
) -> None:
    ran = run("evaluate", stored, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert json.loads((stored / "circuit.json").read_text())["evaluation"].items() <= found.items()
    assert [other["metric"] for other in found["metrics"]] == ["kl", "accuracy"]
    assert found["metrics"][1]["full"]["mean"] == 1.0
    assert (
        found["completeness"]["worst"]["incompleteness"]["mean"]
        >= found["completeness"]["random"]["mean"]
    )
    assert found["minimality"]["n_edges"] == len(load_circuit(stored))
    assert [found[name] for name in ("curve", "truth", "stability")] == [None] * 3, "not asked for"


def test_another_metric_limit_and_seed(run: Callable[..., Ran], stored: Path) -> None:
    ran = run(
        "evaluate",
        stored / "circuit.json",
        "--metric",
        "accuracy",
        "--limit",
        6,
        "--seed",
        3,
        "--json",
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["metric"], found["n_prompts"], found["seed"]) == ("accuracy", 6, 3)
    assert found["faithfulness"]["mean"] == 1.0
    assert [other["metric"] for other in found["metrics"]] == ["kl"]


def test_edges_on_no_path_are_counted_where_they_count(
    run: Callable[..., Ran], stored: Path
) -> None:
    circuit = load_circuit(stored).pruned()
    unfed = next(n for h in range(8) if (n := f"a1.h{h}") not in circuit.nodes)
    hanging = circuit | Circuit.of(circuit.graph, [f"{unfed}->logits"])
    save_circuit(replace(circuit, mask=hanging.mask), stored.parent / "hanging")
    for ablation, n_messages in (("mean", 1), ("resample", 0)):
        ran = run("evaluate", "hanging", "--ablation", ablation, *QUICKLY)
        assert ran.code == 0, ran.err
        message = f"1 of the circuit's {len(hanging)} edges lie on no path"
        assert ran.err.count(message) == n_messages


def test_table_and_quiet(run: Callable[..., Ran], stored: Path) -> None:
    shown = run("evaluate", stored, "--limit", 6)
    assert "logit_difference, resample ablation, 6 unseen prompts" in shown.out
    assert run("evaluate", stored, "--limit", 6, "--quiet") == Ran(0, "", "")


def test_everything_at_once_with_a_curve_in_files(
    run: Callable[..., Ran], stored: Path, tmp_path: Path
) -> None:
    true = load_circuit(stored)
    more = Circuit(
        true.graph, true.mask | Circuit.of(true.graph, ["embed->logits", "a0.h7->logits"]).mask
    )
    save_circuit(more, tmp_path / "true")
    files = ("--curve-out", "new/curve.csv", "--curve-out", "curve.png")
    ran = run("evaluate", stored, "--all", "--limit", 6, "--truth", "true", *files, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert 0 <= found["curve"]["cmd"]["mean"] <= found["curve"]["random_cmd"]["mean"]
    assert 1 <= found["curve"]["size_95"] <= len(true)
    assert found["truth"]["edges"]["precision"] == 1.0
    assert found["truth"]["edges"]["recall"] == pytest.approx(len(true) / len(more))
    assert found["stability"]["n_edges"] == [pytest.approx(len(true), abs=4)] * 5
    assert 0.5 < found["stability"]["overlap"]["mean"] <= 1
    rows = list(csv.DictReader((tmp_path / "new" / "curve.csv").read_text().splitlines()))
    assert [float(row["share"]) for row in rows] == [
        point["share"] for point in found["curve"]["points"]
    ]
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {"new", "curve.png", "stored", "true"}, (
        "nothing half written"
    )


def test_tables_of_other_measures(run: Callable[..., Ran], stored: Path) -> None:
    shown = run(
        "evaluate", stored, "--measures", "minimality,truth,curve", "--truth", stored, "--limit", 6
    )
    assert shown.code == 0, shown.err
    for words in (
        "least effect of an edge",
        "CPR",
        "CMD of 5 random",
        "Against the true circuit",
        "Faithfulness over",
    ):
        assert words in shown.out
    assert "incompleteness" not in shown.out


def test_prompts_of_the_search_are_refused_unless_forced(
    run: Callable[..., Ran], stored: Path
) -> None:
    of_search = (
        "evaluate",
        stored,
        "--split",
        "discovery",
        "--limit",
        6,
        "--measures",
        "faithfulness",
    )
    refused = run(*of_search)
    assert (refused.code, refused.out) == (2, "")
    assert "The search saw 6 of these 6 prompts" in refused.err
    assert "--force-seen" in refused.err
    forced = run(*of_search, "--force-seen", "--json")
    assert forced.code == 0, forced.err
    assert json.loads(forced.out)["seen"] == 6
    assert json.loads(forced.out)["split"] == "discovery"
    assert "6 prompts, 6 of them SEEN" in run(*of_search, "--force-seen").out
    others = run(*of_search, "--seed", 77, "--json")
    assert json.loads(others.out)["seen"] == 0, "other prompts of that split were not seen"


def test_prompts_of_a_search_that_are_lost_may_all_have_been_seen(
    run: Callable[..., Ran], stored: Path
) -> None:
    edit(stored, lambda record: record["task"].update(prompts_sha256="0" * 64))
    few = ("evaluate", stored, "--limit", 6, "--measures", "faithfulness")
    refused = run(*few, "--split", "discovery")
    assert refused.code == 2
    assert "cannot be found out" in refused.err
    assert (
        json.loads(run(*few, "--split", "discovery", "--force-seen", "--json").out)["seen"] is None
    )
    assert json.loads(run(*few, "--json").out)["seen"] == 0, "the splits share no prompt"


def test_measures_that_need_what_is_not_there(run: Callable[..., Ran], stored: Path) -> None:
    edit(stored, lambda record: record.update(algorithm=None))
    ran = run("evaluate", stored, "--measures", "stability,truth", "--limit", 6)
    assert ran.code == 2
    assert "stability: the circuit does not say by what search" in ran.err
    assert "truth: no true circuit was given" in ran.err


def test_a_true_circuit_of_another_graph(
    run: Callable[..., Ran], stored: Path, tmp_path: Path
) -> None:
    save_circuit(Circuit.full(Graph(1, 8, mlp=False)), tmp_path / "true")
    ran = run("evaluate", stored, "--truth", "true", "--limit", 6)
    assert ran.code == 2
    assert "The true circuit is of Graph(n_layers=1" in ran.err
    assert "but the model has Graph(n_layers=2" in ran.err


def test_a_truth_that_comes_with_the_model(
    run: Callable[..., Ran], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load_circuit(stored)
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        "circuitgraph.jobs.judge.find_known_circuit", lambda *given: asked.append(given) or found
    )
    ran = run("evaluate", stored, *QUICKLY, "--truth", "known")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["truth"]["edges"]["f1"] == 1.0
    (_, task, prompts, ablation) = asked[0]
    assert (task.name, prompts.fingerprint, ablation) == (  # pyright: ignore[reportAttributeAccessIssue]
        "induction",
        found.provenance["task"]["prompts_sha256"],
        "resample",
    )
    monkeypatch.setattr("circuitgraph.jobs.judge.find_known_circuit", lambda *given: None)
    ran = run("evaluate", stored, *QUICKLY, "--truth", "known")
    assert ran.code == 2
    assert "The true circuit of task 'induction' in 'induction-2l' is not known" in ran.err


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--measures completness", "Unknown measure 'completness'. Did you mean 'completeness'?"),
        ("--measures curve --all", "Both --measures and --all were given"),
        ("--curve-out curve.txt", "Unknown format of a curve 'txt'"),
        ("--split test", "Unknown split 'test'"),
        ("--truth nowhere", "There is no circuit at 'nowhere'"),
    ],
)
def test_refused_before_the_model_is_loaded(
    run: Callable[..., Ran], stored: Path, options: str, words: str
) -> None:
    ran = run("evaluate", stored, *options.split())
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.usefixtures("no_model")
def test_a_picture_without_matplotlib(
    run: Callable[..., Ran], stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = run("evaluate", stored, "--curve-out", "curve.pdf")
    assert ran.code == 2
    assert "pip install 'circuitgraph-interp[plots]'" in ran.err


@pytest.mark.parametrize("hashed", ["weights", "tokenizer"])
def test_changed_model_is_refused_unless_it_is_named(
    run: Callable[..., Ran], stored: Path, hashed: str
) -> None:
    edit(stored, lambda record: record["model"].update({f"{hashed}_sha256": "0" * 64}))
    ran = run("evaluate", stored, "--limit", 6)
    assert (ran.code, ran.out) == (2, "")
    assert f"The {hashed} of 'induction-2l' changed" in ran.err
    assert "000000000000" in ran.err
    assert "--model" in ran.err
    assert run("evaluate", stored, "--limit", 6, "--model", "induction-2l").code == 0


def test_circuit_of_another_graph(run: Callable[..., Ran], stored: Path, tmp_path: Path) -> None:
    model = shutil.copytree(shipped_models()["induction-2l"], tmp_path / "model")
    edit(
        stored,
        lambda record: record["graph"].update(n_heads=4, n_writers=9, n_readers=25, n_edges=81),
    )
    edit(stored, lambda record: record.update(edges=[]))
    (stored / "scores.safetensors").unlink()
    ran = run("evaluate", stored, "--model", model)
    assert ran.code == 2
    assert "n_heads=4" in ran.err
    assert "n_heads=8" in ran.err


def test_arguments_of_the_task_are_those_of_the_search(
    run: Callable[..., Ran], stored: Path
) -> None:
    edit(stored, lambda record: record["task"].update(arguments={"min_words": 5, "max_words": 5}))
    short = json.loads(run("evaluate", stored, *QUICKLY).out)
    usual = json.loads(run("evaluate", stored, *QUICKLY, "--task", "induction").out)
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
    assert (
        run("evaluate", stored, "--data", data, "--model", "induction-2l", *QUICKLY[2:]).code == 0
    )
    from circuitgraph.models.loading import load_model
    from circuitgraph.tasks.loading import load_task

    task = load_task(data, load_model("induction-2l"))
    edit(
        stored, lambda record: record["task"].update(name=task.name, arguments=dict(task.arguments))
    )
    return stored, data


def test_data_file_is_found_again_and_may_have_grown(
    run: Callable[..., Ran], of_data: tuple[Path, Path]
) -> None:
    """Added lines cannot bring a prompt that was searched with among those to judge by."""
    stored, data = of_data
    before = run("evaluate", stored, *QUICKLY[2:])
    assert before.code == 0, before.err
    data.write_text(
        data.read_text()
        + "\n"
        + "\n".join(pair(clean=f" dog {w} moon dog") for w in ("ring", "egg"))
    )
    after = run("evaluate", stored, *QUICKLY[2:])
    assert after.code == 0, after.err
    assert json.loads(after.out)["n_prompts"] >= json.loads(before.out)["n_prompts"]


def test_lost_data_file(run: Callable[..., Ran], of_data: tuple[Path, Path]) -> None:
    of_data[1].unlink()
    ran = run("evaluate", of_data[0])
    assert ran.code == 2
    assert f"There is no data file {str(of_data[1])!r}" in ran.err
