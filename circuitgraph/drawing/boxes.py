"""The boxes of a drawing: a rank for each sublayer, heads with their q, k and v."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping

import graphviz

from circuitgraph.drawing.arrows import Drawn
from circuitgraph.drawing.graphviz_output import to_label
from circuitgraph.graph.node import ATTENTION_INPUTS

# Colours that colour-blind readers can tell apart (Paul Tol, "bright").
COLOURS = {"q": "#4477AA", "k": "#EE6677", "v": "#228833", "mlp": "#444444", "logits": "#444444"}
FILLS = {"embed": "#EEEEEE", "head": "#FFFFFF", "mlp": "#FFF3D6", "logits": "#EEEEEE"}
FILLS |= {"neuron": "#FFE0A3", "feature": "#FFE0A3", "rest": "#FFF3D6", "error": "#F5F5F5"}
# from below: the heads of a layer, the input of a split MLP, the MLP or its parts
_HEAD_RANK, _INPUT_RANK, _MLP_RANK = range(3)
_RANK_NAMES = ("0", "input", "1")
_RANK_LABELS = ("", " MLP input", " MLP")
_LETTERS = 24  # of a line of heads that share a box


def add_boxes(dot: graphviz.Digraph, drawn: Drawn, captions: Mapping[str, str]) -> None:
    """One rank per sublayer that the circuit touches, held in order by a column of layer labels."""
    nodes = {w.name: w.node for w in drawn.circuit.graph.writers}
    ranks: dict[tuple[int, int], list[str]] = {}
    for box, (name, *_) in drawn.boxes.items():
        layer = nodes[name].layer if name in nodes else drawn.circuit.graph.n_layers
        is_in_mlp = name in nodes and nodes[name].is_in_mlp
        ranks.setdefault((layer, _MLP_RANK if is_in_mlp else _HEAD_RANK), []).append(box)
    for layer, end in _list_shared_inputs(drawn).items():
        ranks[layer, _INPUT_RANK] = [end]
    inputs = _find_used_inputs(drawn)
    labels = []
    for (layer, level), boxes in sorted(ranks.items()):
        label = f"rank-{layer}-{_RANK_NAMES[level]}"
        labels.append(label)
        rank = graphviz.Digraph(graph_attr={"rank": "same"})
        heading = "" if boxes[0] in ("embed", "logits") else f"layer {layer}{_RANK_LABELS[level]}"
        rank.node(label, heading, shape="plaintext", style="", fontcolor="#888888")
        for box in boxes:
            if level == _INPUT_RANK:
                rank.node(box, box, shape="ellipse", fillcolor=FILLS["mlp"], style="filled")
                continue
            held = drawn.boxes[box]
            kind = nodes[held[0]].kind if held[0] in nodes else "logits"
            text = _write_label(box, held, captions)
            rank.node(box, **_style_box(text, kind, inputs.get(box, set())))
        dot.subgraph(rank)
    for below, above in itertools.pairwise(labels):
        dot.edge(below, above, style="invis")
    _join_parts(dot, drawn)


def _write_label(box: str, nodes: list[str], captions: Mapping[str, str]) -> str:
    """The name of a box, the heads that share it, and what is known of them."""
    if len(nodes) == 1:
        return "\n".join(filter(None, [nodes[0], captions.get(nodes[0])]))
    short = {name: name.partition(".")[2] for name in nodes}
    lines = textwrap.wrap(" ".join(short.values()), _LETTERS)
    known = [f"{short[name]} {captions[name]}" for name in nodes if name in captions]
    return "\n".join([box, *lines, *known])


def _list_shared_inputs(drawn: Drawn) -> dict[int, str]:
    """By layer, the inputs of split MLPs that an arrow enters: each is drawn below its parts."""
    graph = drawn.circuit.graph
    layers = {reader.name: reader.node.layer for reader in graph.readers if reader.feeds_parts}
    return {layers[arrow.end]: arrow.end for arrow in drawn.arrows if arrow.end is not None}


def _join_parts(dot: graphviz.Digraph, drawn: Drawn) -> None:
    """A plain line from the input of a split MLP to each part that is drawn."""
    parts = {arrow.end: arrow.targets for arrow in drawn.arrows if arrow.end is not None}
    for end, targets in parts.items():
        for part in sorted(set(drawn.boxes).intersection(targets)):
            dot.edge(end, part, color="#BBBBBB", arrowhead="none", tooltip="computed from")


def _find_used_inputs(drawn: Drawn) -> dict[str, set[str]]:
    """For each box, which of its inputs q, k and v an arrow enters."""
    used: dict[str, set[str]] = {}
    for arrow in drawn.arrows:
        if arrow.kind in ATTENTION_INPUTS:
            for target in arrow.targets:
                used.setdefault(target, set()).add(arrow.kind)
    return used


def _style_box(text: str, kind: str, inputs: set[str]) -> dict[str, str]:
    if kind not in ("head", "source"):
        return {"label": text, "fillcolor": FILLS[kind]}
    cells = "".join(
        f'<TD PORT="{i}" BGCOLOR="{COLOURS[i] if i in inputs else "#E4E4E4"}" WIDTH="18">'
        f'<FONT POINT-SIZE="10" COLOR="{"white" if i in inputs else "#999999"}">{i}</FONT></TD>'
        for i in ATTENTION_INPUTS
    )
    table = (
        '<TABLE BORDER="1" COLOR="#666666" CELLBORDER="0" CELLSPACING="0" CELLPADDING="4" '
        f'STYLE="ROUNDED" BGCOLOR="{FILLS["head"]}"><TR><TD '
        f'COLSPAN="3">{to_label(text)}</TD></TR><TR>{cells}</TR></TABLE>'
    )
    return {"label": f"<{table}>", "shape": "plain", "style": ""}
