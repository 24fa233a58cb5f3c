"""Which heads a search cuts by where they fetch: ``a3.h5:IO,S1``, or ``a3.h5`` for all roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuitgraph.errors import ArgumentError, CircuitGraphError, list_problems
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.head_split import check_sources
from circuitgraph.graph.node import Node

Sources = Mapping[Node, tuple[str, ...]]
"""The sources of each head; none for all roles."""


def parse_head_sources(texts: Sequence[str]) -> Sources:
    """The heads and sources of texts such as ``a3.h5:IO,S1`` or ``a3.h5``, of any model.

    Raises:
        ArgumentError: a text of another form, or a head twice.
    """
    chosen: dict[Node, tuple[str, ...]] = {}
    problems = []
    for text in texts:
        name, colon, listed = text.partition(":")
        sources = tuple(part.strip() for part in listed.split(",")) if colon else ()
        try:
            node = Node.parse(name)
            if node.kind != "head":
                problems.append(f"{text!r}: {node} is no head")
                continue
            if colon:
                check_sources(node, sources)
        except CircuitGraphError as error:
            problems.append(f"{text!r}: {error}")
            continue
        if node in chosen:
            problems.append(f"{text!r}: {node} is named twice; put its sources into one list")
        chosen[node] = sources
    if problems:
        raise ArgumentError(
            list_problems(
                "These heads cannot be cut by source (expected for example 'a3.h5:IO,S1', or "
                "'a3.h5' for all roles):",
                problems,
            )
        )
    return chosen


def split_heads(graph: Graph, sources: Sources, roles: Sequence[str]) -> Graph:
    """The graph with these heads in parts.

    Args:
        roles: of the prompts, for heads that are cut by all of them.

    Raises:
        ArgumentError: a head by all roles where there are none.
        UnknownNameError: a head that the graph does not have.
    """
    for head, names in sources.items():
        if not names and not roles:
            raise ArgumentError(
                f"{head} cannot be cut by the roles of these prompts, which have none: name "
                f"positions, such as '{head}:0,1'."
            )
        graph = graph.refine_head(str(head), names or tuple(roles))
    return graph
