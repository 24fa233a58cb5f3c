"""What a record says of a circuit, in a few lines: pairs of a name and a value."""

from __future__ import annotations

from typing import Any

from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord, Interval
from circuitgraph.drawing.page.entry import PageCircuit

Fact = tuple[str, Any]


def list_facts(entry: PageCircuit) -> list[Fact]:
    """Model, task, search and quality; what the record does not say is left out."""
    facts = [*describe_search(entry.record), *_describe_quality(entry.record)]
    if entry.judgement is not None:
        facts += _describe_judgement(entry.judgement)
    if entry.certainty is not None:
        counts = entry.certainty.count_kinds(in_circuit=True)
        facts.append(("certainty", ", ".join(f"{n} {kind}" for kind, n in counts.items() if n)))
    return [(name, value) for name, value in facts if value is not None]


def describe_search(record: CircuitRecord) -> list[Fact]:
    """What was searched, and how; None where the record does not say."""
    model, task, algorithm = record.model, record.task, record.algorithm
    facts: list[Fact] = [
        ("model", model and model.name),
        ("task", task and task.name),
        ("metric", record.metric),
        ("ablation", record.ablation),
        ("edges", f"{len(record.edges):,} of {record.graph.n_edges:,}"),
    ]
    if algorithm is not None:
        facts += [
            ("algorithm", algorithm.name),
            ("threshold", algorithm.arguments.get("threshold")),
            ("close calls", len(algorithm.close_calls) or None),
            ("seconds", algorithm.seconds),
        ]
    return facts


def _describe_quality(record: CircuitRecord) -> list[Fact]:
    evaluation = record.evaluation
    if evaluation is None:
        return []
    return [
        ("faithfulness", show_interval(evaluation.faithfulness)),
        ("of random circuits", show_interval(evaluation.random_faithfulness)),
        ("judged on", f"{evaluation.n_prompts:,} prompts"),
    ]


def _describe_judgement(judgement: JudgementRecord) -> list[Fact]:
    facts: list[Fact] = []
    if judgement.completeness and judgement.completeness.worst:
        worst = judgement.completeness.worst.incompleteness
        facts.append(("incompleteness, worst", show_interval(worst)))
    if judgement.minimality:
        unneeded, n_edges = len(judgement.minimality.unneeded), judgement.minimality.n_edges
        facts.append(("edges not shown to matter", f"{unneeded} of {n_edges}"))
    if judgement.stability:
        facts.append(("overlap when searched again", show_interval(judgement.stability.overlap)))
    return facts


def show_interval(interval: Interval | None) -> dict[str, float] | None:
    """A mean with its interval, as the page reads it."""
    return None if interval is None else interval.model_dump()
