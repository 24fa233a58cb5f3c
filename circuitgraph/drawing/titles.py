"""The title of a drawn circuit: what it is, and below it where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuitgraph.drawing.graphviz_output import to_label
from circuitgraph.graph.circuit import Circuit


def write_title(circuit: Circuit, title: str | None, small: int, note: str | None = None) -> str:
    """The title as a label of Graphviz.

    Args:
        title: in place of the names of task and model.
        small: letters of the second line, in points.
        note: a third line, in bold.
    """
    facts: Mapping[str, Any] = circuit.provenance
    if title is None:
        names = [(facts.get(part) or {}).get("name") for part in ("task", "model")]
        title = " in ".join(str(name) for name in names if name) or "circuit"
    lines = [f"<B>{to_label(title)}</B>"]
    lines.append(f'<FONT POINT-SIZE="{small}" COLOR="#666666">{_describe_origin(circuit)}</FONT>')
    if note is not None:
        lines.append(f'<FONT POINT-SIZE="{small}"><B>{to_label(note)}</B></FONT>')
    return f"<{'<BR/>'.join([*lines, ' '])}>"


def _describe_origin(circuit: Circuit) -> str:
    """Size, search, metric and ablation, as far as they are known."""
    facts: Mapping[str, Any] = circuit.provenance
    algorithm = facts.get("algorithm") or {}
    threshold = (algorithm.get("arguments") or {}).get("threshold")
    parts = [
        f"{len(circuit)} of {circuit.graph.n_edges} edges",
        algorithm.get("name"),
        f"threshold {threshold:g}" if threshold is not None else None,
        facts.get("metric"),
        f"{facts['ablation']} ablation" if facts.get("ablation") else None,
    ]
    return to_label(", ".join(str(part) for part in parts if part))
