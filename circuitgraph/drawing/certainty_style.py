"""How an arrow looks where it is known how often repeated searches keep its edge."""

from __future__ import annotations

from collections.abc import Mapping

from circuitgraph.catalog.certainty_record import CertaintyRecord, EdgeCertainty

_LINES = {"core": "solid", "contingent": "dashed", "noise": "dotted"}
_FAINTEST = 0.2  # opacity of an edge that no search keeps


def style_certainty(
    style: Mapping[str, str], certain: EdgeCertainty, labelled: bool
) -> dict[str, str]:
    """What changes of an arrow's style, whose colour may be pale already."""
    often, colour = certain.frequency.mean, style["color"][:7]
    opacity = round(255 * (_FAINTEST + (1 - _FAINTEST) * often))
    text = f"in {often:.0%} of searches, {certain.kind}"
    changed = {
        "color": f"{colour}{opacity:02X}",
        "style": _LINES[certain.kind],
        "tooltip": f"{style['tooltip']}, {text}" if ":" in style["tooltip"] else text,
    }
    return changed | ({"label": f" {often:.0%}", "fontcolor": colour} if labelled else {})


def explain_certainty(certainty: CertaintyRecord) -> list[str]:
    """Lines of the legend."""
    return [
        f"solid: core, in {certainty.core:.0%} of searches or more",
        "dashed: contingent",
        f"dotted: noise, in {certainty.noise:.0%} or less",
        "faint: seldom kept",
    ]
