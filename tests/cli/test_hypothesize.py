"""``circuitgraph hypothesize``: from a circuit to a file, and everything that can be wrong on the
way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.files import load_record, save_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.writing.stored import store_hypothesis
from tests.cli.conftest import Ran, files_below

CIRCUIT = Path(__file__).parents[2] / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
LEFT = ["a0_h3", "a1_h6", "answer"]


@pytest.mark.slow  # compiles the programs of swaps and attention
def test_a_circuit_becomes_a_file(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("hypothesize", CIRCUIT, "-o", "new/mine.py", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"hypothesis": "new/mine.py", "unwritten": LEFT}
    assert files_below(tmp_path) == {"new", "new/mine.py"}
    (found,) = load_hypotheses(tmp_path / "new" / "mine.py")
    assert [(v.name, str(v.sites[0])) for v in found.variables[3:]] == [
        ("a0_h3", "a0.h3@B1"),
        ("a1_h6", "a1.h6@A2"),
        ("answer", "logits@A2"),
    ]
    tested = run("scrub", "new/mine.py")
    assert tested.code == 2
    assert all(f"`{name}` is still `...`: say what it computes" in tested.err for name in LEFT)


def test_without_roles_no_model_is_loaded(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    ran = run("hypothesize", CIRCUIT / "circuit.json", "-o", "mine.py", "--no-roles")
    assert (ran.code, ran.out) == (0, "mine.py\n")
    assert "Functions to write: a0_h3, a1_h6, answer." in ran.err
    assert '@ "ROLE"' in (tmp_path / "mine.py").read_text()


def test_nothing_is_overwritten_unless_asked_for(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("# a hypothesis of circuitgraph, precious")
    ran = run("hypothesize", CIRCUIT, "-o", "mine.py", "--no-roles")
    assert (ran.code, ran.out) == (2, "")
    assert "'mine.py' exists already. Choose another --out, or add --force" in ran.err
    assert mine.read_text() == "# a hypothesis of circuitgraph, precious"
    assert run("hypothesize", CIRCUIT, "-o", "mine.py", "--no-roles", "--force", "-q") == Ran(
        0, "", ""
    )
    assert mine.read_text() != "precious"


def test_names_from_a_circuit_stay_names(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    """A circuit's file is data: nothing that it says becomes code, or a place on the disk."""
    evil = "x')\nopen('executed', 'w')\n#\"\"\"\\"
    content = json.loads((CIRCUIT / "circuit.json").read_text())
    content["model"]["name"] = evil
    content["metric"] = evil
    (tmp_path / "circuit").mkdir()
    (tmp_path / "circuit" / "circuit.json").write_text(json.dumps(content))
    ran = run("hypothesize", "circuit", "-o", "mine.py", "--no-roles", "-q")
    assert ran == Ran(0, "", "")
    (found,) = load_hypotheses(tmp_path / "mine.py")
    assert (found.model, found.metric) == (evil, evil)
    assert files_below(tmp_path) == {"circuit", "circuit/circuit.json", "mine.py"}


def test_settings_that_are_no_defaults_are_kept(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    content = json.loads((CIRCUIT / "circuit.json").read_text())
    assert load_record(CIRCUIT).task is not None
    content["task"]["arguments"]["min_words"] = 9
    content["metric"] = "kl"
    (tmp_path / "circuit.json").write_text(json.dumps(content))
    assert (
        run(
            "hypothesize",
            "circuit.json",
            "-o",
            "mine.py",
            "--no-roles",
            "--model",
            "multitask",
            "-q",
        ).code
        == 0
    )
    (found,) = load_hypotheses(tmp_path / "mine.py")
    assert (found.task, found.model, found.settings, found.metric) == (
        "induction",
        "multitask",
        {"min_words": 9},
        "kl",
    )


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        ((CIRCUIT, "-o", "mine.txt"), ["--out is 'mine.txt'", "ends in .py"]),
        ((CIRCUIT, "-o", "folder.py"), ["'folder.py' exists already"]),
        ((CIRCUIT, "-o", "/proc/mine.py", "--no-roles"), ["'/proc/mine.py' cannot be written"]),
        (("nowhere", "-o", "mine.py"), ["There is no circuit at 'nowhere'"]),
        (("by-hand", "-o", "mine.py"), ["does not say which task and model it is of"]),
        (
            (CIRCUIT, "-o", "mine.py", "--model", "ioi"),
            ["The circuit is of a model with 2 layers of 8 heads"],
        ),
        ((CIRCUIT,), ["Missing option '--out'"]),
    ],
    ids=["ending", "folder", "unwritable", "nowhere", "by hand", "another model", "no file"],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[object, ...], phrases: list[str], run: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "folder.py").mkdir()
    save_circuit(Circuit.of(Graph(1, 1), ["embed->logits"]), tmp_path / "by-hand")
    before = files_below(tmp_path)
    ran = run("hypothesize", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert not [phrase for phrase in phrases if phrase not in ran.err], ran.err
    assert files_below(tmp_path) == before


def test_help_says_that_files_are_executed(run: Callable[..., Ran]) -> None:
    assert "executed as Python" in run("hypothesize", "--help").out


STORED = Path(__file__).parents[2] / "hypotheses" / "greater_than.py"


def test_a_stored_hypothesis_becomes_the_file_that_it_was(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    record = store_hypothesis(load_hypotheses(STORED)[0])
    (tmp_path / "alone.json").write_text(record.to_json())
    (tmp_path / "scrub.json").write_text(
        json.dumps({"held": True, "stored": json.loads(record.to_json())})
    )
    for file in ("alone.json", "scrub.json"):
        ran = run("hypothesize", file, "-o", "again.py", "--force", "--json")
        assert (ran.code, json.loads(ran.out)["unwritten"]) == (0, [])
        again = store_hypothesis(load_hypotheses(tmp_path / "again.py")[0])
        assert again == record
    assert run("hypothesize", "alone.json", "-o", "other.py", "--model", "mine").code == 0
    assert load_hypotheses(tmp_path / "other.py")[0].model == "mine"


def test_a_stored_hypothesis_is_not_executed(
    run: Callable[..., Ran], tmp_path: Path, no_model: None
) -> None:
    content = json.loads(store_hypothesis(load_hypotheses(STORED)[0]).to_json())
    content["support"] = "open('executed', 'w')"
    (tmp_path / "evil.json").write_text(json.dumps(content))
    assert run("hypothesize", "evil.json", "-o", "mine.py", "-q").code == 0
    assert files_below(tmp_path) == {"evil.json", "mine.py"}
    content["variables"] = "none"
    (tmp_path / "evil.json").write_text(json.dumps(content))
    ran = run("hypothesize", "evil.json", "-o", "mine.py", "--force")
    assert ran.code == 2
    assert "This is not the record of a hypothesis" in ran.err


def test_paths_are_written_so_that_the_file_works_from_anywhere(
    run: Callable[..., Ran], tmp_path: Path, no_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `discover` records them, relative to where it ran; they are found beside the circuit."""
    content = json.loads((CIRCUIT / "circuit.json").read_text())
    content["task"] |= {"name": "mine", "arguments": {"data": "data/mine.jsonl", "sha256": "0"}}
    content["model"]["name"] = "models/mine"
    for folder in ("project/data", "project/models/mine", "project/runs/r", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "project/data/mine.jsonl").write_text("")
    (tmp_path / "project/models/mine/config.json").write_text("{}")
    (tmp_path / "project/runs/r/circuit.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = run("hypothesize", "../project/runs/r", "-o", "h.py", "--no-roles", "-q")
    assert ran == Ran(0, "", "")
    (written,) = load_hypotheses(tmp_path / "elsewhere" / "h.py")
    assert Path(written.task) == tmp_path / "project" / "data" / "mine.jsonl"
    assert Path(written.model) == tmp_path / "project" / "models" / "mine"
    assert written.name == "mine in mine"
    text = (tmp_path / "elsewhere" / "h.py").read_text()
    assert "relabel" not in text
    assert 'H.property("behaviour")' in text
