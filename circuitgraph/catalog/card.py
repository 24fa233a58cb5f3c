"""The card of an entry: what was found, in words and tables, all of it from the records.

Its head is the YAML that the Hugging Face hub reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from circuitgraph.catalog.evidence_files import EvidenceFile, format_interval
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord, EdgeRecord
from circuitgraph.graph.node import ARROW, parse_input
from circuitgraph.printable import NAME, make_printable, to_markdown_cell

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FEW_PROMPTS = 100
_STRONGEST = 20


def write_card(
    record: CircuitRecord,
    judgement: JudgementRecord | None = None,
    evidence: Sequence[EvidenceFile] = (),
    *,
    picture: str | None = None,
    table: str | None = None,
    rivals: Sequence[Sequence[object]] = (),
    sections: Sequence[str] = (),
) -> str:
    """The Markdown of a card.

    Args:
        picture: file name of a drawing beside it.
        table: CSV of sizes and faithfulness over thresholds.
        rivals: rows (name, edges, faithfulness) of other circuits to compare with.
        sections: more Markdown, before the table of edges.
    """
    nodes = list_nodes(record)
    lines = [
        format_front(record),
        f"# {_name_task(record)} in {_name_model(record)}",
        f"{len(record.edges)} of {record.graph.n_edges:,} edges between {len(nodes)} nodes: "
        f"{', '.join(nodes)}.",
        _link_picture(record, picture),
        _describe_search(record),
        *_list_own_sections(record, judgement, table, rivals),
        *sections,
        *([format_evidence(evidence)] if evidence else []),
        format_table(["edge", "effect when it was tested"], list_strongest(record.edges)),
        "## Limits",
        "\n".join(f"* {line}" for line in list_limits(record, judgement, evidence)),
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def format_front(record: CircuitRecord) -> str:
    """The YAML at the head."""
    evaluation = record.evaluation
    circuit: dict[str, Any] = {
        "model": record.model and record.model.name,
        "task": record.task and record.task.name,
        "algorithm": record.algorithm and record.algorithm.name,
        "metric": record.metric,
        "ablation": record.ablation,
        "edges": len(record.edges),
        "edges_of_graph": record.graph.n_edges,
    }
    if evaluation is not None and evaluation.faithfulness is not None:
        circuit["faithfulness"] = round(evaluation.faithfulness.mean, 4)
    content: dict[str, Any] = {
        "library_name": "circuitgraph",
        "tags": ["circuitgraph", "circuit", "mechanistic-interpretability"],
    }
    if record.model is not None and is_on_hub(record):
        content["base_model"] = record.model.name
    content["circuit"] = {
        name: make_printable(value, NAME) if isinstance(value, str) else value
        for name, value in circuit.items()
        if value is not None
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=2**16)
    return f"---\n{text}---"


def is_on_hub(record: CircuitRecord) -> bool:
    """Whether the circuit's model came from a hub, as far as its record says."""
    model = record.model
    return bool(model and model.revision and _HUB_NAME.fullmatch(model.name))


def _name_task(record: CircuitRecord) -> str:
    return to_markdown_cell(record.task.name) if record.task else "a circuit"


def _name_model(record: CircuitRecord) -> str:
    return to_markdown_cell(record.model.name) if record.model else "a model without a name"


def list_nodes(record: CircuitRecord) -> list[str]:
    """The nodes that an edge touches, in the order of the forward pass."""
    ends = [end for edge in record.edges for end in edge.edge.split(ARROW)]
    return [str(node) for node in sorted({parse_input(end)[0] for end in ends})]


def _link_picture(record: CircuitRecord, picture: str | None) -> str:
    if picture is None:
        return ""
    if picture.endswith((".dot", ".pdf")):  # which no page shows
        return f"Drawn in [{picture}]({picture})."
    return f"![{_name_task(record)}]({picture})"


def _describe_search(record: CircuitRecord) -> str:
    if record.algorithm is None:
        return "No search is named; the circuit was made by hand."
    arguments = ", ".join(f"{name} {value}" for name, value in record.algorithm.arguments.items())
    prompts = ""
    if record.task is not None:
        prompts = f" on {record.task.n_prompts} prompts (seed {record.task.seed})"
    return to_markdown_cell(
        f"Found by {record.algorithm.name}{f' ({arguments})' if arguments else ''} with "
        f"{record.metric} and {record.ablation} ablation{prompts}, "
        f"{record.algorithm.n_tested:,} edges tested in {record.algorithm.seconds:,.0f} s."
    )


def _list_own_sections(
    record: CircuitRecord,
    judgement: JudgementRecord | None,
    table: str | None,
    rivals: Sequence[Sequence[object]],
) -> list[str]:
    """The tables of the judgement and of the thresholds."""
    evaluation = judgement or record.evaluation
    sections = []
    if evaluation is not None:
        size = len(record.edges)
        rows = [
            ["this circuit", size, format_interval(evaluation.faithfulness)],
            *rivals,
            [
                f"random, {evaluation.n_random} circuits",
                size,
                format_interval(evaluation.random_faithfulness),
            ],
        ]
        sections.append(
            f"Faithfulness over {evaluation.n_prompts} prompts that the search did not see, with "
            "95 % intervals."
            if evaluation.seen == 0
            else f"Faithfulness over {evaluation.n_prompts} prompts, **some of which the search "
            "saw**, with 95 % intervals."
        )
        heading = f"faithfulness ({to_markdown_cell(evaluation.metric)})"
        sections.append(format_table(["circuit", "edges", heading], rows))
    if judgement is not None and (measures := list_measures(judgement)):
        rows = [[to_markdown_cell(cell) for cell in row] for row in measures]
        sections.append(format_table(["measure", "value"], rows))
    if table:
        header, *lines = (line.split(",") for line in table.strip().splitlines())
        sections.append(format_table(header, lines))
    return sections


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def list_measures(judgement: JudgementRecord) -> list[tuple[str, str]]:
    """The judgement beyond faithfulness, a line for each measure."""
    rows = [
        (
            f"{m.metric}: model, circuit, nothing",
            "; ".join(map(format_interval, (m.full, m.circuit, m.empty))),
        )
        for m in judgement.metrics
    ]
    if (c := judgement.completeness) and c.worst:
        nodes = ", ".join(c.worst.nodes) or "a random set"
        worst = f"{format_interval(c.worst.incompleteness)} at {nodes}"
        rows.append(("incompleteness, worst", worst))
        rows.append(("incompleteness, random sets", format_interval(c.random)))
    if (m := judgement.minimality) and m.least:
        least = f"{format_interval(m.least.effect)} of {m.least.edge}"
        rows.append(("minimality: least effect of an edge", least))
        rows.append(("edges whose effect is not shown", f"{len(m.unneeded)} of {m.n_edges}"))
        if m.level:
            rows.append(("minimality: level", f"{m.level}, at a tolerance of {m.tolerance:.3g}"))
    if curve := judgement.curve:
        for name, own, random in (
            ("CMD; of random scores", curve.cmd, curve.random_cmd),
            ("CPR; of random scores", curve.cpr, curve.random_cpr),
        ):
            rows.append((name, f"{format_interval(own)}; {format_interval(random)}"))
        rows.append(("size at 95 % faithfulness", str(curve.size_95)))
    return [*rows, *_list_further_measures(judgement)]


def _list_further_measures(judgement: JudgementRecord) -> list[tuple[str, str]]:
    rows = []
    if s := judgement.stability:
        name = f"stability: Jaccard overlap of {s.n_discoveries} searches"
        rows.append((name, format_interval(s.overlap)))
    if t := judgement.truth:
        numbers = {
            "AUROC": t.promoted.auroc,
            "precision": t.promoted.precision,
            "recall": t.promoted.recall,
        }
        text = ", ".join(f"{name} {x:.3f}" for name, x in numbers.items() if x is not None)
        rows.append(("against the true circuit, node pairs", text))
    return rows


def format_evidence(evidence: Sequence[EvidenceFile]) -> str:
    """What else is known, a line for each record."""
    rows = [
        [
            each.kind,
            f"[{to_markdown_cell(each.title)}](evidence/{each.file})",
            each.verdict or "",
            to_markdown_cell(each.text),
        ]
        for each in evidence
    ]
    return format_table(["evidence", "of", "verdict", "what it says"], rows)


def list_strongest(edges: Sequence[EdgeRecord], n: int = _STRONGEST) -> list[tuple[str, str]]:
    """The edges of largest effect."""
    order = sorted(edges, key=lambda edge: -abs(edge.effect or 0.0))
    rows = [
        (f"`{edge.edge}`", "-" if edge.effect is None else f"{edge.effect:.4f}")
        for edge in order[:n]
    ]
    return [*rows, (f"{len(order) - n} weaker ones", "")] if len(order) > n else rows


def list_limits(
    record: CircuitRecord, judgement: JudgementRecord | None, evidence: Sequence[EvidenceFile]
) -> list[str]:
    """What nobody should conclude from the entry, or has measured."""
    lines = [
        f"It is the circuit of these prompts, of {to_markdown_cell(record.metric or 'no metric')} "
        f"and of {to_markdown_cell(record.ablation or 'no')} ablation; others may have others.",
    ]
    evaluation = judgement or record.evaluation
    if evaluation is None:
        lines.append("Nobody has judged it on unseen prompts.")
    elif evaluation.n_prompts < _FEW_PROMPTS:
        lines.append(f"It was judged on {evaluation.n_prompts} prompts only.")
    if judgement is None or judgement.stability is None:
        lines.append("Whether other samples of prompts give the same edges was not measured.")
    unneeded = judgement and judgement.minimality and len(judgement.minimality.unneeded)
    if unneeded:
        lines.append(f"Of {unneeded} edges these prompts do not show that they matter.")
    if record.algorithm and record.algorithm.close_calls:
        n = len(record.algorithm.close_calls)
        lines.append(f"{n} decisions of the search were closer than numerical noise.")
    if not any(each.verdict for each in evidence):
        lines.append("No hypothesis about what its nodes compute was tested.")
    return lines
