"""Sites from their names: ``a0.h3@B1``, ``m1.n7@A+B``, ``embed``; the inverse of ``str(site)``."""

from __future__ import annotations

import re

from circuitgraph.errors import UnknownNameError
from circuitgraph.graph.names import canonical_node
from circuitgraph.graph.sites import Kind, Site

_INSIDE = re.compile(r"m(?P<layer>\d+)\.(?P<letter>[nf])(?P<index>\d+)")
_NODE = re.compile(
    r"a(?P<head_layer>\d+)\.h(?P<head>\d+)|m(?P<mlp_layer>\d+)|(?P<fixed>embed|logits)"
)
_KINDS: dict[str, Kind] = {"n": "neuron", "f": "feature"}
_FIXED: dict[str, Kind] = {"embed": "embed", "logits": "logits"}


def site_named(text: str) -> Site:
    """The site of a name: a node, and after an ``@`` its roles with ``+`` between them.

    Raises:
        UnknownNameError: no site is called so.
    """
    node, at, roles = text.partition("@")
    named = tuple(roles.split("+")) if at else ()
    if not all(named):
        raise UnknownNameError(
            f"{text!r} names no role after its '@'. Expected for example 'a0.h3@B1'."
        )
    if match := _INSIDE.fullmatch(node.strip()):
        return Site(_KINDS[match["letter"]], int(match["layer"]), int(match["index"]), named)
    match = _NODE.fullmatch(canonical_node(node))
    if match is None:
        raise UnknownNameError(
            f"{text!r} is an input of a node, not a site. Expected for example 'a0.h3@B1'."
        )
    if match["fixed"]:
        return Site(_FIXED[match["fixed"]], roles=named)
    if match["head"]:
        return Site("head", int(match["head_layer"]), int(match["head"]), named)
    return Site("mlp", int(match["mlp_layer"]), roles=named)
