"""The main job through the command: what is printed, what is written, with and without Graphviz."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Ran, files_below

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def test_json_is_one_object_and_the_file_that_was_written(finished: tuple[Path, Ran]) -> None:
    folder, ran = finished
    assert ran.code == 0
    assert ran.out == (folder / "circuit.json").read_text()
    assert isinstance(json.loads(ran.out), dict)
    assert "Graphviz" in ran.err or ran.err == ""


def test_record_says_what_was_done(finished: tuple[Path, Ran]) -> None:
    record = json.loads(finished[1].out)
    assert record["task"]["name"] == "induction"
    assert record["task"]["n_prompts"] == 6
    assert (record["metric"], record["ablation"]) == ("logit_difference", "resample")
    full, empty = (record["evaluation"][end]["mean"] for end in ("full", "empty"))
    threshold = record["algorithm"]["arguments"]["threshold"]
    assert threshold == pytest.approx(0.002 * (full - empty), rel=0.2)  # of 6 other prompts
    assert record["algorithm"]["arguments"]["absolute"] is True
    assert record["evaluation"]["split"] == "evaluation"
    assert record["graph"]["n_edges"] == 257


def test_circuit_has_the_path_of_the_ablation_table(finished: tuple[Path, Ran]) -> None:
    edges = {edge["edge"] for edge in json.loads(finished[1].out)["edges"]}
    assert {"embed->a0.h3<v>", "a0.h3->a1.h6<k>", "a1.h6->logits"} <= edges


@needs_dot
def test_all_files_are_written(finished: tuple[Path, Ran]) -> None:
    folder, _ = finished
    files = {"circuit.json", "scores.safetensors", "journal.jsonl", "circuit.dot", "circuit.svg"}
    assert files_below(folder) == files
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    assert ElementTree.parse(folder / "circuit.svg").getroot().tag.endswith("svg")  # noqa: S314


@pytest.mark.usefixtures("canned")
def test_tables_go_to_stdout_and_nothing_to_stderr(run: Callable[..., Ran]) -> None:
    ran = run("discover", "induction", "--limit", 6)
    assert ran.code == 0
    for phrase in (
        "of 257 edges",
        "a1.h6->logits",
        "faithfulness of the circuit",
        "95 % interval",
        "random circuits",
    ):
        assert phrase in ran.out
    assert "Written to runs/induction/" in ran.out
    assert "acdc" not in ran.err, "a bar where no terminal is"


@pytest.mark.usefixtures("canned")
def test_quiet_prints_nothing(run: Callable[..., Ran], tmp_path: Path) -> None:
    assert run("discover", "induction", "--limit", 6, "--quiet") == Ran(0, "", "")
    assert (tmp_path / "runs" / "induction" / "circuit.json").is_file()


@pytest.mark.parametrize(
    "task", [("induction",), ("--task", "induction"), ("induction", "--task", "induction")]
)
def test_dry_run_writes_nothing(
    run: Callable[..., Ran], tmp_path: Path, task: tuple[str, ...]
) -> None:
    ran = run("discover", *task, "--dry-run", "--limit", 6, "--json")
    assert (ran.code, ran.err) == (0, "")
    facts = json.loads(ran.out)
    assert (facts["edges"], facts["evaluations_at_most"], facts["prompts"]) == (257, 257, 6)
    assert facts["memory_mib"] > 0
    assert 0 < facts["minutes_low"] <= facts["minutes"] <= facts["minutes_high"] < 30
    assert 3 <= facts["edges_kept_about"] <= 20
    assert files_below(tmp_path) == set()


def test_dry_run_as_a_table(run: Callable[..., Ran]) -> None:
    ran = run("discover", "induction", "--dry-run", "--limit", 6, "--direct")
    assert [word in ran.out for word in ("evaluations at most", "memory mib", "edges", "305")] == [
        True
    ] * 4


@pytest.mark.usefixtures("canned")
def test_without_graphviz_the_message_says_how_to_get_the_picture(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = run("discover", "induction", "--limit", 6)
    assert ran.code == 0
    assert files_below(tmp_path / "runs" / "induction") == {
        "circuit.json",
        "scores.safetensors",
        "circuit.dot",
    }
    assert "Graphviz is not installed" in ran.err
    assert "circuitgraph render runs/induction" in ran.err


@pytest.mark.usefixtures("canned")
@pytest.mark.parametrize(
    "script", ["#!/bin/sh\necho broken >&2; exit 1\n", "#!/bin/sh\nexec /bin/sleep 60\n"]
)
def test_graphviz_that_fails_does_not_cost_the_search(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    (tmp_path / "dot").write_text(script)
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("circuitgraph.drawing.graphviz_output._LAYOUT_SECONDS", 0.2)
    ran = run("discover", "induction", "--limit", 6, "--out", "mine")
    assert ran.code == 0
    assert files_below(tmp_path / "mine") == {"circuit.json", "scores.safetensors", "circuit.dot"}
    assert "There is no picture, but all else. Graphviz" in ran.err
    assert "broken" in ran.err or "no layout within" in ran.err
