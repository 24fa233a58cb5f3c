"""``--thresholds``: a curve in a folder, each circuit as found alone, and lists that are no
thresholds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_circuit
from circuitgraph.catalog.records import CurveRecord
from tests.cli.conftest import Ran, call, files_below

QUICK = ("discover", "induction", "--limit", 6)
CIRCUIT = {"circuit.json", "scores.safetensors"}


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("curve") / "run"
    return folder, call(*QUICK, "--thresholds", "0.01,0.1,2", "--out", folder, "--json")


def test_json_is_the_curve(curve: tuple[Path, Ran]) -> None:
    folder, ran = curve
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (folder / "curve.json").read_text()
    record = CurveRecord.model_validate_json(ran.out)
    assert [point.threshold for point in record.points] == [0.01, 0.1, 2.0]
    sizes = [point.n_edges for point in record.points]
    assert sizes[0] > sizes[1] > sizes[2]
    assert record.n_tested < record.n_alone == sum(point.n_tested for point in record.points)
    for point in record.points:
        assert point.evaluation.split == "evaluation"
        assert point.circuit is not None
        assert len(load_circuit(folder / point.circuit)) == point.n_edges


def test_the_folder_holds_all_circuits(curve: tuple[Path, Ran]) -> None:
    folders = {f"threshold-{t}" for t in ("0.01", "0.1", "2.0")}
    circuits = {f"{folder}/{name}" for folder in folders for name in CIRCUIT}
    assert (
        files_below(curve[0]) == {"curve.csv", "curve.json", "journal.jsonl"} | folders | circuits
    )
    assert {path.name for path in curve[0].parent.iterdir()} == {"run"}


def test_a_circuit_is_that_of_a_run_alone(
    run: Callable[..., Ran], curve: tuple[Path, Ran], tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    assert run(*QUICK, "--threshold", 0.1, "--out", alone, "--quiet") == Ran(0, "", "")
    one, two = (
        json.loads((f / "circuit.json").read_text()) for f in (curve[0] / "threshold-0.1", alone)
    )
    for record in (one, two):
        del record["algorithm"]["seconds"]
    assert one == two
    scores = [(f / "scores.safetensors").read_bytes() for f in (curve[0] / "threshold-0.1", alone)]
    assert scores[0] == scores[1]


def test_the_table_has_a_line_for_each_threshold(curve: tuple[Path, Ran]) -> None:
    with open(curve[0] / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    points = json.loads((curve[0] / "curve.json").read_text())["points"]
    assert len(rows) == len(points) == 3
    for row, point in zip(rows, points, strict=True):
        assert float(row["threshold"]) == point["threshold"]
        assert int(row["edges"]) == point["n_edges"]
        assert float(row["discovery_loss"]) == point["loss"]
        assert float(row["metric"]) == point["evaluation"]["circuit"]["mean"]
        assert (
            float(row["faithfulness_low"])
            <= float(row["faithfulness"])
            <= float(row["faithfulness_high"])
        )


def test_it_is_shown_resumed_and_overwritten(
    run: Callable[..., Ran], curve: tuple[Path, Ran]
) -> None:
    journal = Path("mine.journal.jsonl")
    whole = (curve[0] / "journal.jsonl").read_bytes()
    journal.write_bytes(whole[: len(whole) * 2 // 3])
    ran = run(*QUICK, "--thresholds", "0.01, 0.1, 2", "--out", "mine", "--resume")
    assert ran.code == 0
    assert ran.err.startswith("The first prompt: 'gold' ")
    for phrase in (
        "threshold",
        "faithfulness",
        "random circuits",
        "whole model",
        "0.01",
        "2.0",
        "% saved",
        "Written to mine/",
    ):
        assert phrase in ran.out
    for name in (
        "curve.csv",
        "threshold-0.01/scores.safetensors",
        "threshold-2.0/scores.safetensors",
    ):
        assert (Path("mine") / name).read_bytes() == (curve[0] / name).read_bytes()
    again = run(*QUICK, "--thresholds", "2", "--out", "mine", "--overwrite", "--quiet")
    assert again == Ran(0, "", "")
    assert not Path("mine/threshold-0.01").exists()
    Path("mine/threshold-2.0/notes.txt").write_text("years of work")
    kept = run(*QUICK, "--out", "mine", "--overwrite")
    assert kept.code == 2
    assert "holds other things than a circuit (threshold-2.0)" in kept.err


def test_a_curve_is_no_circuit_but_says_where_they_are(
    run: Callable[..., Ran], curve: tuple[Path, Ran]
) -> None:
    ran = run("render", curve[0])
    assert ran.code == 2
    assert "holds a curve: name the folder of one of its circuits" in ran.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--thresholds", "0.1,0.03"), "number 2, 0.03, comes after 0.1"),
        (("--thresholds", "0.1,0.1"), "0.1 was given twice"),
        (("--thresholds", "0.1,nan"), "threshold number 2 is nan"),
        (("--thresholds", "0.1,,1"), "numbers between commas"),
        (("--thresholds", ""), "An empty value"),
        (("--thresholds", "0.1;0.2"), "numbers between commas"),
        (("--thresholds=-0.1,0.2", "--absolute"), "threshold is -0.1"),
        (("--thresholds", "0.1,0.2", "--threshold", "0.1"), "Both --threshold and --thresholds"),
        (
            ("--thresholds", "0.1,0.2", "--algorithm", "random"),
            "--thresholds is for algorithm 'acdc'",
        ),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_lists_that_are_no_thresholds(
    run: Callable[..., Ran], args: tuple[str, ...], words: str
) -> None:
    ran = run("discover", "induction", *args)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert files_below(Path()) == set()


def test_a_dry_run_counts_all_of_them(run: Callable[..., Ran]) -> None:
    ran = run(*QUICK, "--thresholds", "0.1,0.2,0.3", "--dry-run", "--json")
    assert json.loads(ran.out)["evaluations_at_most"] == 3 * 257
