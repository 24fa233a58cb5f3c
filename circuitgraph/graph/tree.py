"""A claim unrolled from the output: every path has its own copy of every site (treeification).

Causal scrubbing gives each copy its own prompt, so a node's identity is its path, not its site.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.site import Site

Path = tuple[str, ...]


@dataclass(frozen=True)
class TreeNode:
    """One copy of a site, and what of it feeds its parent in the tree.

    Attributes:
        path: names from the root to here; what identifies the node.
        variable: whose value the site is said to carry.
        site: where.
        feeds: the input of the parent's site that this one enters (``q``, ``k``, ``v``, or ``x``),
            "" for the root. If a site enters several inputs, each is a path, and so a node, of its
            own.
        children: claimed inputs of this site. A node without any is a leaf: all its inputs come
            from one prompt.
        tie: nodes of one tie share their donors; None for a node that draws alone.
    """

    path: Path
    variable: str
    site: Site
    feeds: str = ""
    children: tuple[TreeNode, ...] = ()
    tie: Path | None = None

    @property
    def name(self) -> str:
        """The path from the node to the output, such as ``a0.h3@B1<k> > a1.h6@A2 > logits@A2``."""
        return " > ".join(reversed(self.path))

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, parents before children."""
        yield self
        for child in self.children:
            yield from child.walk()


def list_site_edges(graph: Graph, site: Site) -> list[tuple[str, str]]:
    """All inputs of a site with each of their writers; a neuron has the inputs of its MLP."""
    edges = []
    for name in site.inputs:
        stage = graph.reader_of(site.node, name).stage
        edges += [(name, writer.name) for writer in graph.writers if writer.stage <= stage]
    return edges
