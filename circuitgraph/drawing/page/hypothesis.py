"""What causal scrubbing says of a hypothesis, as the page shows it: a tree, and roles of nodes."""

from __future__ import annotations

from typing import Any

from circuitgraph.catalog.scrub_record import ScrubRecord


def name_roles(scrub: ScrubRecord) -> dict[str, str]:
    """The role of each node that the hypothesis speaks of: as it says, or else the variable."""
    roles: dict[str, str] = {}
    for node in scrub.nodes:
        roles.setdefault(_name_node(node.site), node.role or node.variable)
    return roles


def _name_node(site: str) -> str:
    """``a1.h6`` for the site ``a1.h6@A2``."""
    return site.split("@")[0]


def describe_scrub(scrub: ScrubRecord) -> dict[str, Any]:
    """The verdict, rivals and nulls, and the tree of claims."""
    others = [*scrub.rivals, *scrub.nulls]
    return {
        "name": scrub.hypothesis,
        "verdict": scrub.verdict,
        "facts": [
            ("loss recovered", scrub.recovered.model_dump()),
            *((f"instead: {one.name}", one.recovered.model_dump()) for one in others),
            ("outcome", scrub.outcome or ("held" if scrub.held else "not held")),
        ],
        "nodes": [
            {
                "path": node.path,
                "node": _name_node(node.site),
                "site": node.site,
                "variable": node.variable,
                "feeds": node.feeds,
                "alone": node.alone.model_dump(),
                "value": node.value,
                "donor": node.donor,
            }
            for node in scrub.nodes
        ],
    }
