"""A tree of claims as a Graphviz drawing: the redder a node, the more its resampling costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import graphviz

from circuitgraph.drawing.boxes import COLOURS
from circuitgraph.drawing.graphviz_output import to_label
from circuitgraph.printable import make_printable

_PROMPT_LETTERS = 34  # of a long prompt, a box shows only the last ones


@dataclass(frozen=True)
class ClaimBox:
    """One node of the tree, as a box of the drawing.

    Attributes:
        path: what identifies the node; its parent's path is one shorter.
        feeds: the input of the parent's site that the node enters.
        recovered: the share of the loss that is recovered when this node alone is resampled.
        value, donor: what the node carried in one draw, and the donor prompt of that value.
    """

    path: tuple[str, ...]
    site: str
    variable: str
    feeds: str
    recovered: float
    value: str
    donor: str


def claims_to_dot(claims: Sequence[ClaimBox], title: str, below: str) -> graphviz.Digraph:
    """The drawing, the output on top; needs no Graphviz program.

    Args:
        claims: parents before children.
        below: a second line under the title.
    """
    dot = graphviz.Digraph("hypothesis")
    dot.attr(
        rankdir="BT",
        ranksep="0.6",
        nodesep="0.3",
        bgcolor="white",
        fontname="Helvetica",
        labelloc="t",
    )
    dot.attr(
        label=f'<<B>{to_label(title)}</B><BR/><FONT POINT-SIZE="11" '
        f'COLOR="#666666">{to_label(below)}</FONT><BR/> >'
    )
    dot.attr(
        "node",
        fontname="Helvetica",
        fontsize="13",
        shape="box",
        style="filled,rounded",
        color="#666666",
    )
    dot.attr("edge", fontname="Helvetica", fontsize="11", arrowsize="0.6", penwidth="1.5")
    names = {claim.path: f"n{i}" for i, claim in enumerate(claims)}
    for claim in claims:
        tooltip = (
            f"{claim.site}: {claim.recovered:.3f} of the loss recovered when it alone is "
            f"resampled; donor: {claim.donor}"
        )
        dot.node(
            names[claim.path],
            f"<{_format_label(claim)}>",
            fillcolor=_choose_fill(1 - claim.recovered),
            tooltip=_escape_backslashes(make_printable(tooltip)),
        )
        if len(claim.path) > 1:
            colour = COLOURS.get(claim.feeds, COLOURS["mlp"])
            label = (
                {"label": f" {claim.feeds}", "fontcolor": colour} if claim.feeds in "qkv" else {}
            )
            dot.edge(names[claim.path], names[claim.path[:-1]], color=colour, **label)
    return dot


def _format_label(claim: ClaimBox) -> str:
    small = '<FONT POINT-SIZE="10" COLOR="#444444">'
    lines = [
        f"<B>{to_label(claim.site)}</B>",
        to_label(f"{claim.variable} = {_shorten_text(claim.value)}"),
        f"{small}{to_label(_shorten_text(claim.donor))}</FONT>",
        f"{small}alone {claim.recovered:.2f}</FONT>",
    ]
    return "<BR/>".join(lines)


def _shorten_text(text: str) -> str:
    """The end of a long text: what a prompt ends with matters most."""
    text = text.strip()
    return text if len(text) <= _PROMPT_LETTERS else f"... {text[-_PROMPT_LETTERS:].lstrip()}"


def _escape_backslashes(text: str) -> str:
    """Text in which Graphviz finds no escapes."""
    return text.replace("\\", "\\\\")


def _choose_fill(cost: float) -> str:
    """White for what costs nothing, red for what costs everything."""
    share = min(1.0, max(0.0, cost))
    full = (238, 102, 119)
    return "#" + "".join(f"{round(255 + (end - 255) * share):02X}" for end in full)
