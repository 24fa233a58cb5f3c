"""A tree of claims as a Graphviz drawing: each node the redder, the more of the loss is lost when
it is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import graphviz

from circuitgraph.drawing.dot import COLOURS

_WIDE = 34  # letters of a prompt that a box shows


@dataclass(frozen=True)
class Claim:
    """One node, as it is drawn.

    Attributes:
        path: what identifies it; its parent's is one shorter.
        feeds: the input of the parent's site that it enters.
        kept: the share of the loss that is recovered when this node alone is resampled.
        value, donor: what it carried in one draw, and the prompt that it had that from.
    """

    path: tuple[str, ...]
    site: str
    variable: str
    feeds: str
    kept: float
    value: str
    donor: str


def tree_dot(claims: Sequence[Claim], title: str, below: str) -> graphviz.Digraph:
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
        label=f'<<B>{escape(title)}</B><BR/><FONT POINT-SIZE="11" '
        f'COLOR="#666666">{escape(below)}</FONT><BR/> >'
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
        tip = f"{claim.site}: {claim.kept:.3f} of the loss recovered when it alone is resampled; donor: {claim.donor}"
        dot.node(
            names[claim.path],
            f"<{_label(claim)}>",
            fillcolor=_red(1 - claim.kept),
            tooltip=_plain(tip),
        )
        if len(claim.path) > 1:
            colour = COLOURS.get(claim.feeds, COLOURS["mlp"])
            label = (
                {"label": f" {claim.feeds}", "fontcolor": colour} if claim.feeds in "qkv" else {}
            )
            dot.edge(names[claim.path], names[claim.path[:-1]], color=colour, **label)
    return dot


def _label(claim: Claim) -> str:
    small = '<FONT POINT-SIZE="10" COLOR="#444444">'
    lines = [
        f"<B>{escape(claim.site)}</B>",
        escape(f"{claim.variable} = {_short(claim.value)}"),
        f"{small}{escape(_short(claim.donor))}</FONT>",
        f"{small}alone {claim.kept:.2f}</FONT>",
    ]
    return "<BR/>".join(lines)


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _WIDE else f"... {text[-_WIDE:].lstrip()}"


def _plain(text: str) -> str:
    """Text in which Graphviz finds no escapes."""
    return text.replace("\\", "\\\\")


def _red(cost: float) -> str:
    """White for what costs nothing, red for what costs everything."""
    share = min(1.0, max(0.0, cost))
    full = (238, 102, 119)
    return "#" + "".join(f"{round(255 + (end - 255) * share):02X}" for end in full)
