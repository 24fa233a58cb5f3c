"""A circuit as a Graphviz drawing: a rank per sublayer, q/k/v in colours, effects as widths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import graphviz
import numpy as np

from circuitgraph.catalog.certainty_record import CertaintyRecord
from circuitgraph.drawing.arrows import Arrow, Drawn, choose_drawn
from circuitgraph.drawing.boxes import COLOURS, add_boxes
from circuitgraph.drawing.certainty_style import explain_certainty, style_certainty
from circuitgraph.drawing.graphviz_output import save_drawing, to_label
from circuitgraph.drawing.matrix import matrix_to_dot
from circuitgraph.drawing.page.assembly import save_page
from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from circuitgraph.drawing.titles import write_title
from circuitgraph.drawing.views import MOST_ARROWS, VIEWS
from circuitgraph.errors import ArgumentError, check_between, check_choice
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.node import ATTENTION_INPUTS

_MOST_LABELS = 40  # in a drawing of more arrows, numbers hide more than they show
_TALL = 40  # boxes
_MOST_ARROWS = 1_000_000  # that anybody may ask for
_PALEST = 0x48  # of 255: how opaque the weakest arrow is where there are many


def to_dot(
    circuit: Circuit,
    title: str | None = None,
    captions: Mapping[str, str] | None = None,
    *,
    certainty: CertaintyRecord | None = None,
    by_layer: bool = False,
    hide_below: float = 0.0,
    most_arrows: int | None = MOST_ARROWS,
) -> graphviz.Digraph:
    """The drawing as a `graphviz.Digraph`; needs no Graphviz program.

    The forward pass runs upwards: the embedding at the bottom, the logits on top, one rank per
    sublayer. Edges into a head end at its q, k or v; dashed edges are those whose removal lowered
    the loss. Edges that are not drawn are counted in the second line of the title.

    Args:
        captions: what to write below the names of nodes, such as types of heads.
        certainty: fade each edge by how often repeated searches keep it; lines of core edges are
            solid then, of contingent ones dashed, of noise dotted, and labels say how often.
            Arrows that stand for several edges stay as they are.
        by_layer: draw the heads of a layer as one box, and edges between the same boxes as one.
        hide_below: leave out arrows weaker than this share of the strongest.
        most_arrows: draw no more than the strongest of so many; None draws all.

    Raises:
        ArgumentError: a share that is none, or a number of arrows that is not from 1 to a million.
    """
    if not 0 <= hide_below <= 1:
        raise ArgumentError(f"hide_below is {hide_below}, but must be a share from 0 to 1.")
    if most_arrows is not None:
        check_between("most_arrows", most_arrows, 1, _MOST_ARROWS)
    drawn = choose_drawn(circuit, by_layer, hide_below, most_arrows)
    dot = graphviz.Digraph("circuit")
    # Many edges make a drawing wide: keep them close together, and names large in proportion.
    crowded = len(drawn.arrows) > _MOST_LABELS
    nodesep, ranksep, size = ("0.05", "1.2", 24) if crowded else ("0.35", "0.7", 14)
    if crowded and len(drawn.boxes) > _TALL:
        ranksep = "0.6"  # of many layers, most with few boxes, a drawing becomes high enough
    dot.attr(rankdir="BT", ranksep=ranksep, nodesep=nodesep, bgcolor="white")
    dot.attr(fontname="Helvetica", labelloc="t")
    box = {"shape": "box", "style": "filled,rounded", "color": "#666666"}
    dot.attr("node", fontname="Helvetica", fontsize=str(size), **box)
    dot.attr("edge", fontname="Helvetica", fontsize="10", arrowsize="0.6")
    label = write_title(circuit, title, size - 3, _count_hidden(drawn))
    dot.attr(label=label, fontsize=str(size + 2))
    add_boxes(dot, drawn, captions or {})
    _add_arrows(dot, drawn, crowded, certainty)
    _add_legend(dot, drawn, size - 4, crowded, certainty)
    return dot


def render(
    circuit: Circuit,
    path: str | Path,
    title: str | None = None,
    captions: Mapping[str, str] | None = None,
    *,
    certainty: CertaintyRecord | None = None,
    view: str = "nodes",
    hide_below: float = 0.0,
    most_arrows: int | None = MOST_ARROWS,
) -> Path:
    """Draw a circuit into a file, in the format that its ending says (.svg, .pdf, .png, .dot, or
    .html: a page, which needs no Graphviz).

    Args:
        captions, certainty, hide_below, most_arrows: as of `to_dot`.
        view: ``nodes``, and arrows between them; ``layers``, whose heads share a box; or
            ``matrix``, all heads of the model by layer, coloured by effect, without arrows.

    Returns:
        The file written: with another ending than asked for (``.dot``) if Graphviz is not
            installed.

    Raises:
        ArgumentError: another ending or view, or arguments that `to_dot` does not take.
        OutputError: the file cannot be written.
        LayoutError: Graphviz failed, or needed more than a minute.
    """
    if Path(path).suffix.lower() == ".html":
        entry = make_entry(circuit, title or "circuit")
        return save_page(path, make_circuit_page([entry], types=captions))
    if check_choice("view", view, VIEWS) == "matrix":
        return save_drawing(matrix_to_dot(circuit, title, captions), path)
    dot = to_dot(
        circuit,
        title,
        captions,
        certainty=certainty,
        by_layer=view == "layers",
        hide_below=hide_below,
        most_arrows=most_arrows,
    )
    return save_drawing(dot, path)


# Parts of the drawing


def _add_arrows(
    dot: graphviz.Digraph, drawn: Drawn, crowded: bool, certainty: CertaintyRecord | None
) -> None:
    """The strongest last, so that it lies on top of the others."""
    known = {} if certainty is None else {each.edge: each for each in certainty.edges}
    sizes = [arrow.strength for arrow in drawn.arrows if np.isfinite(arrow.strength)]
    largest = max(sizes, default=0.0)
    # Edges that enter from below only (":s") are neater, but put labels on top of each other.
    side = ":s" if crowded else ""
    for arrow in (
        sorted(drawn.arrows, key=lambda arrow: arrow.strength) if crowded else drawn.arrows
    ):
        style = _style_arrow(arrow, largest, crowded)
        if certain := known.get(arrow.name):
            style |= style_certainty(style, certain, labelled=not crowded)
        for target in (arrow.end,) if arrow.end else arrow.targets:
            port = f":{arrow.kind}{side}" if arrow.kind in ATTENTION_INPUTS else ""
            dot.edge(arrow.source, f"{target}{port}", **style)


def _style_arrow(arrow: Arrow, largest: float, crowded: bool) -> dict[str, str]:
    colour = COLOURS.get(arrow.kind, COLOURS["mlp"])  # units have no colour of their own
    style = {"color": colour, "tooltip": arrow.name, "penwidth": "1.2"}
    if arrow.effect is None:
        return style
    share = arrow.strength / (largest or 1.0)
    style["penwidth"] = f"{0.8 + 5.2 * share:.2f}"
    style["tooltip"] += f": {arrow.effect:.4g}"
    if arrow.effect < 0:
        style["style"] = "dashed"
    if crowded:
        # By the root of the share: most arrows are weak, and all of them are to be seen.
        opaque = round(_PALEST + (255 - _PALEST) * share**0.5)
        return style | {"color": f"{colour}{opaque:02X}"}
    return style | {"label": f" {arrow.effect:.3g}", "fontcolor": colour}


def _add_legend(
    dot: graphviz.Digraph,
    drawn: Drawn,
    size: int,
    crowded: bool,
    certainty: CertaintyRecord | None,
) -> None:
    """A small table in a corner; its rank is the embedding's, so that it pushes no layers apart."""
    swatches = "".join(
        f'<TR><TD BGCOLOR="{COLOURS[i]}" WIDTH="24"></TD><TD ALIGN="LEFT">into {text}</TD></TR>'
        for i, text in (("q", "query"), ("k", "key"), ("v", "value"), ("mlp", "MLP or logits"))
    )
    unit = drawn.circuit.provenance.get("metric")
    total = "sum of effects" if any(arrow.n_edges > 1 for arrow in drawn.arrows) else "effect"
    lines = [
        f"width: {total} on {to_label(str(unit))}" if unit else "width: score",
        "dashed: removal helps",
        *(["pale: weak"] if crowded else []),
    ]
    if certainty is not None:
        lines[1:] = explain_certainty(certainty)
    rows = "".join(f'<TR><TD COLSPAN="2" ALIGN="LEFT">{line}</TD></TR>' for line in lines)
    table = (
        '<TABLE BORDER="1" COLOR="#CCCCCC" CELLBORDER="0" CELLSPACING="2" CELLPADDING="2">'
        f'<TR><TD COLSPAN="2" ALIGN="LEFT"><B>Edges</B></TD></TR>{swatches}{rows}</TABLE>'
    )
    dot.node("legend", f"<{table}>", shape="plain", style="", fontsize=str(size))


def _count_hidden(drawn: Drawn) -> str | None:
    """How much of the circuit has no arrow; None if all has."""
    if not drawn.n_hidden:
        return None
    n_nodes = len(drawn.circuit.nodes) - sum(map(len, drawn.boxes.values()))
    nodes = f" and {n_nodes} nodes" if n_nodes else ""
    if any(arrow.n_edges > 1 for arrow in drawn.arrows):
        return f"the weakest arrows, of {drawn.n_hidden:,} edges{nodes}, are not drawn"
    return f"the {drawn.n_hidden:,} weakest edges{nodes} are not drawn"
