"""A circuit as a Graphviz drawing: a rank per sublayer, q/k/v in colours, effects as widths."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import graphviz
import numpy as np

from circuitgraph.drawing.graphviz_output import save_drawing, to_label
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Reader
from circuitgraph.graph.node import ATTENTION_INPUTS

# Colours that colour-blind readers can tell apart (Paul Tol, "bright").
COLOURS = {"q": "#4477AA", "k": "#EE6677", "v": "#228833", "mlp": "#444444", "logits": "#444444"}
_FILLS = {"embed": "#EEEEEE", "head": "#FFFFFF", "mlp": "#FFF3D6", "logits": "#EEEEEE"}
_FILLS |= {"neuron": "#FFE0A3", "feature": "#FFE0A3", "rest": "#FFF3D6", "error": "#F5F5F5"}
# from below: the heads of a layer, the input of a split MLP, the MLP or its parts
_HEAD_RANK, _INPUT_RANK, _MLP_RANK = range(3)
_RANK_NAMES = ("0", "input", "1")
_RANK_LABELS = ("", " MLP input", " MLP")
_MOST_LABELS = 40  # in a drawing of more edges, numbers hide more than they show


def to_dot(
    circuit: Circuit, title: str | None = None, captions: Mapping[str, str] | None = None
) -> graphviz.Digraph:
    """The drawing as a `graphviz.Digraph`; needs no Graphviz program.

    The forward pass runs upwards: the embedding at the bottom, the logits on top, one rank per
    sublayer. Edges into a head end at its q, k or v; dashed edges are those whose removal lowered
    the loss.

    Args:
        captions: what to write below the names of nodes, such as types of heads.
    """
    dot = graphviz.Digraph("circuit")
    # Many edges make a drawing wide: keep them close together, and names large in proportion.
    crowded = int(circuit.mask.sum()) > _MOST_LABELS
    nodesep, ranksep, size = ("0.05", "1.2", 24) if crowded else ("0.35", "0.7", 14)
    dot.attr(
        rankdir="BT",
        ranksep=ranksep,
        nodesep=nodesep,
        bgcolor="white",
        fontname="Helvetica",
        labelloc="t",
    )
    dot.attr(
        "node",
        fontname="Helvetica",
        fontsize=str(size),
        shape="box",
        style="filled,rounded",
        color="#666666",
    )
    dot.attr("edge", fontname="Helvetica", fontsize="10", arrowsize="0.6")
    dot.attr(label=f"<{_format_title(circuit, title, size - 3)}>", fontsize=str(size + 2))
    _add_nodes(dot, circuit, captions or {})
    _add_edges(dot, circuit)
    _add_legend(dot, circuit, size - 4)
    return dot


def render(
    circuit: Circuit,
    path: str | Path,
    title: str | None = None,
    captions: Mapping[str, str] | None = None,
) -> Path:
    """Draw a circuit into a file, in the format that its ending says (.svg, .pdf, .png, .dot).

    Args:
        captions: as of `to_dot`.

    Returns:
        The file written: with another ending than asked for (``.dot``) if Graphviz is not
            installed.

    Raises:
        ArgumentError: another ending.
        OutputError: the file cannot be written.
        LayoutError: Graphviz failed, or needed more than a minute.
    """
    return save_drawing(to_dot(circuit, title, captions), path)


# Parts of the drawing


def _add_nodes(dot: graphviz.Digraph, circuit: Circuit, captions: Mapping[str, str]) -> None:
    """One rank per sublayer that the circuit touches, held in order by a column of layer labels."""
    nodes = {w.name: w.node for w in circuit.graph.writers}
    ranks: dict[tuple[int, int], list[str]] = {}
    for name in circuit.nodes:
        layer = nodes[name].layer if name in nodes else circuit.graph.n_layers
        is_in_mlp = name in nodes and nodes[name].is_in_mlp
        ranks.setdefault((layer, _MLP_RANK if is_in_mlp else _HEAD_RANK), []).append(name)
    for reader in _list_shared_inputs(circuit):
        ranks[reader.node.layer, _INPUT_RANK] = [reader.name]
    inputs = _find_used_inputs(circuit)
    labels = []
    for (layer, level), names in sorted(ranks.items()):
        label = f"rank-{layer}-{_RANK_NAMES[level]}"
        labels.append(label)
        rank = graphviz.Digraph(graph_attr={"rank": "same"})
        rank.node(
            label,
            _label_rank(names[0], layer, level),
            shape="plaintext",
            style="",
            fontcolor="#888888",
        )
        for name in names:
            if level == _INPUT_RANK:
                rank.node(name, name, shape="ellipse", fillcolor=_FILLS["mlp"], style="filled")
                continue
            kind = nodes[name].kind if name in nodes else "logits"
            text = "\n".join(filter(None, [name, captions.get(name)]))
            rank.node(name, **_style_node(text, kind, inputs.get(name, set())))
        dot.subgraph(rank)
    for below, above in itertools.pairwise(labels):
        dot.edge(below, above, style="invis")


def _list_shared_inputs(circuit: Circuit) -> list[Reader]:
    """The inputs of split MLPs that a kept edge enters: each is drawn as a node below its parts."""
    entered = np.unique(circuit.graph.ends[0][circuit.mask])
    readers = [circuit.graph.readers[index] for index in entered]
    return [reader for reader in readers if reader.feeds_parts]


def _label_rank(name: str, layer: int, level: int) -> str:
    if name in ("embed", "logits"):
        return ""
    return f"layer {layer}{_RANK_LABELS[level]}"


def _style_node(text: str, kind: str, inputs: set[str]) -> dict[str, str]:
    if kind != "head":
        return {"label": text, "fillcolor": _FILLS[kind]}
    cells = "".join(
        f'<TD PORT="{i}" BGCOLOR="{COLOURS[i] if i in inputs else "#E4E4E4"}" WIDTH="18">'
        f'<FONT POINT-SIZE="10" COLOR="{"white" if i in inputs else "#999999"}">{i}</FONT></TD>'
        for i in ATTENTION_INPUTS
    )
    table = (
        '<TABLE BORDER="1" COLOR="#666666" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4" '
        f'STYLE="ROUNDED" BGCOLOR="{_FILLS["head"]}"><TR><TD '
        f'COLSPAN="3">{to_label(text)}</TD></TR><TR>{cells}</TR></TABLE>'
    )
    return {"label": f"<{table}>", "shape": "plain", "style": ""}


def _find_used_inputs(circuit: Circuit) -> dict[str, set[str]]:
    """For each node that is drawn, which of its inputs q, k and v a kept edge enters."""
    used: dict[str, set[str]] = {}
    for reader, writer, _ in _iterate_edges(circuit):
        if reader.kind in ATTENTION_INPUTS:
            for head in circuit.graph.reader_nodes(reader):
                used.setdefault(head, set()).add(reader.kind)
        used.setdefault(writer, set())
    return used


def _iterate_edges(circuit: Circuit) -> Iterable[tuple[Reader, str, float | None]]:
    """Each kept edge from a writer: its reader, its writer's name, and its effect if measured."""
    dst, src = circuit.graph.ends
    for edge in np.flatnonzero(circuit.mask & (src >= 0)):
        reader, writer = circuit.graph.readers[dst[edge]], circuit.graph.writers[src[edge]]
        yield reader, writer.name, circuit.effect_of(edge)


def _add_edges(dot: graphviz.Digraph, circuit: Circuit) -> None:
    edges = list(_iterate_edges(circuit))
    largest = max((abs(effect) for _, _, effect in edges if effect is not None), default=0.0)
    labelled = len(edges) <= _MOST_LABELS
    # Edges that enter from below only (":s") are neater, but put labels on top of each other.
    side = "" if labelled else ":s"
    for reader, writer, effect in edges:
        style = _style_edge(reader, writer, effect, largest, labelled)
        nodes = (reader.name,) if reader.feeds_parts else circuit.graph.reader_nodes(reader)
        for node in nodes:
            dot.edge(
                writer,
                f"{node}:{reader.kind}{side}" if reader.kind in ATTENTION_INPUTS else node,
                **style,
            )

    drawn = set(circuit.nodes)
    for reader in _list_shared_inputs(circuit):
        for part in sorted(drawn.intersection(circuit.graph.reader_nodes(reader))):
            dot.edge(reader.name, part, color="#BBBBBB", arrowhead="none", tooltip="computed from")


def _style_edge(
    reader: Reader, writer: str, effect: float | None, largest: float, labelled: bool
) -> dict[str, str]:
    colour = COLOURS.get(reader.kind, COLOURS["mlp"])  # units have no colour of their own
    style = {"color": colour, "tooltip": f"{writer}->{reader.name}", "penwidth": "1.2"}
    if effect is None:
        return style
    style["penwidth"] = f"{0.8 + 5.2 * abs(effect) / (largest or 1.0):.2f}"
    style["tooltip"] += f": {effect:.4g}"
    if effect < 0:
        style["style"] = "dashed"
    if labelled:
        style |= {"label": f" {effect:.3g}", "fontcolor": colour}
    return style


def _add_legend(dot: graphviz.Digraph, circuit: Circuit, size: int) -> None:
    """A small table in a corner; its rank is the embedding's, so that it pushes no layers apart."""
    swatches = "".join(
        f'<TR><TD BGCOLOR="{COLOURS[i]}" WIDTH="24"></TD><TD ALIGN="LEFT">into {text}</TD></TR>'
        for i, text in (("q", "query"), ("k", "key"), ("v", "value"), ("mlp", "MLP or logits"))
    )
    unit = circuit.provenance.get("metric")
    lines = [
        f"width: effect on {to_label(str(unit))}" if unit else "width: score",
        "dashed: removal helps",
    ]
    rows = "".join(f'<TR><TD COLSPAN="2" ALIGN="LEFT">{line}</TD></TR>' for line in lines)
    table = (
        '<TABLE BORDER="1" COLOR="#CCCCCC" CELLBORDER="0" CELLSPACING="2" CELLPADDING="2">'
        f'<TR><TD COLSPAN="2" ALIGN="LEFT"><B>Edges</B></TD></TR>{swatches}{rows}</TABLE>'
    )
    dot.node("legend", f"<{table}>", shape="plain", style="", fontsize=str(size))


def _format_title(circuit: Circuit, title: str | None, small: int) -> str:
    facts: Mapping[str, Any] = circuit.provenance
    if title is None:
        names = [(facts.get(part) or {}).get("name") for part in ("task", "model")]
        title = " in ".join(str(name) for name in names if name) or "circuit"
    size = f"{len(circuit)} of {circuit.graph.n_edges} edges"
    algorithm = facts.get("algorithm") or {}
    threshold = (algorithm.get("arguments") or {}).get("threshold")
    how = [algorithm.get("name"), f"threshold {threshold:g}" if threshold is not None else None]
    how += [facts.get("metric"), f"{facts['ablation']} ablation" if facts.get("ablation") else None]
    below = ", ".join([size, *(str(part) for part in how if part)])
    font = f'<FONT POINT-SIZE="{small}" COLOR="#666666">'
    return f"<B>{to_label(title)}</B><BR/>{font}{to_label(below)}</FONT><BR/> "
