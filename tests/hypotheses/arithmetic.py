"""Graphs of plain sums, run as a tree of claims: what scrubbing gives on them is known by hand.

Every graph reads digits that are uniform and independent. The pool is every combination of digits,
many times over, so that a class's share of the pool is exactly its probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from circuitgraph.graph.node import Node
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.scrubbing.sampling import NodeInputs

Values = np.ndarray
Data = Mapping[str, Values]


@dataclass(frozen=True)
class Part:
    """A node of a graph: what it reads, and how it adds that up."""

    reads: tuple[str, ...]
    function: Callable[..., Values]


Graph = Mapping[str, Part]
"""Parts by name; names that it does not have are the data's own columns."""


def make_site(name: str) -> Site:
    """A site for a part. Sites have no free names, so each part has the number of an MLP."""
    return Site(Node("mlp", sum(ord(letter) * 256**i for i, letter in enumerate(name))))


def claim(name: str, variable: str, *children: TreeNode) -> TreeNode:
    """A node of a tree, with paths that do not know their root yet; see `make_rooted`."""
    return TreeNode((name,), variable, make_site(name), "x", children)


def make_rooted(node: TreeNode, above: Path = (), tie: bool = False) -> TreeNode:
    """The same tree with whole paths.

    With ``tie`` the children of one node with one variable share their donors.
    """
    path = (*above, *node.path)
    own = (*above, node.variable) if tie and above else None
    children = tuple(make_rooted(child, path, tie) for child in node.children)
    return TreeNode(path, node.variable, node.site, node.feeds, children, own)


def run_plain(graph: Graph, name: str, data: Data) -> Values:
    """A part's value on every datum."""
    part = graph.get(name)
    return (
        data[name]
        if part is None
        else part.function(*(run_plain(graph, read, data) for read in part.reads))
    )


def run_scrubbed(graph: Graph, node: TreeNode, inputs: NodeInputs, data: Data) -> Values:
    """A node's value for each reference: what it reads is a child's value or of its inputs."""
    name = node.path[-1]
    given = inputs[node.path]
    if not node.children:
        assert isinstance(given, np.ndarray)
        return run_plain(graph, name, data)[given]
    claimed = {child.path[-1]: child for child in node.children}
    read = []
    for part in graph[name].reads:
        if part in claimed:
            read.append(run_scrubbed(graph, claimed[part], inputs, data))
        else:
            own = given if isinstance(given, np.ndarray) else given["x", part]
            read.append(run_plain(graph, part, data)[own])
    return graph[name].function(*read)


def list_digits(n: int, *, columns: int) -> dict[str, Values]:
    """Every combination of that many digits, equally often, at least ``n`` in all, as ``x0`` ..."""
    every = np.array(list(itertools.product(range(10), repeat=columns)))
    rows = np.tile(every, (-(-n // len(every)), 1))
    return {f"x{i}": rows[:, i].astype(float) for i in range(columns)}
