"""From a program to its tree of claims: every path from an input to the output has its own copies.

A site that lies on several paths is several nodes of the tree, so that each path can have a donor
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS
from circuitgraph.graph.site import Site, logits
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.language import Variable
from circuitgraph.hypotheses.program import Program

SharePosition = Callable[[Site, Site, str], bool]
"""Whether a writer's site and an input of a reader's site share a position in every prompt."""

_MOST_NODES = 500  # of a tree; their number can grow exponentially with depth


@dataclass(frozen=True)
class ClaimProblem:
    """Something wrong with one variable's claim, in words."""

    variable: str
    message: str


@dataclass
class Unrolled:
    """A tree of claims, and what kept parts of the program out of it.

    With problems the tree is not to be used.
    """

    root: TreeNode
    problems: list[ClaimProblem] = field(default_factory=list)


def unroll_program(program: Program, graph: Graph, share_position: SharePosition) -> Unrolled:
    """The tree of a program's claims in a model's graph."""
    output = program.variables[program.output]
    site = output.sites[0] if output.sites else logits
    path = (_name_step(output.name, site, ""),)
    builder = _TreeBuilder(program, graph, share_position)
    root = TreeNode(path, output.name, site, children=builder.make_children(output, site, path))
    # A variable on several paths is wrong on each of them: its problem is told once.
    return Unrolled(root, list(dict.fromkeys(builder.problems)))


def contains_site(whole: Site, part: Site) -> bool:
    """Whether what one site writes holds what the other writes: the same node, or its part."""
    return whole.node in (part.node, part.node.whole)


def sites_overlap(a: Site, b: Site) -> bool:
    """Whether two sites share something at a position that both name; no role means all."""
    same = contains_site(a, b) or contains_site(b, a)
    return same and (not a.roles or not b.roles or bool({*a.roles} & {*b.roles}))


def _name_step(variable: str, site: Site, feeds: str) -> str:
    return f"{variable} [{site}{_format_input(feeds)}]"


def _format_input(feeds: str) -> str:
    return f"<{feeds}>" if feeds in ATTENTION_INPUTS else ""


@dataclass
class _TreeBuilder:
    program: Program
    graph: Graph
    share_position: SharePosition
    problems: list[ClaimProblem] = field(default_factory=list)
    n_nodes: int = 0

    def make_children(self, variable: Variable, site: Site, path: Path) -> tuple[TreeNode, ...]:
        """All claimed inputs of one copy of a variable's site."""
        children: list[TreeNode] = []
        for name, inputs in self._find_entering(variable, site).items():
            nodes = [
                node
                for parent_site in self._list_sites(variable, name)
                for node in self._make_nodes(name, parent_site, site, inputs, path)
            ]
            if not nodes:
                self._add_unreachable(variable, name, site, inputs)
            children += [node for node in nodes if node not in children]
        for a, b in combinations(children, 2):
            if a.feeds == b.feeds and sites_overlap(a.site, b.site):
                self._add_double_claim(variable, site, a, b)
        return tuple(children)

    def _find_entering(self, variable: Variable, site: Site) -> dict[str, tuple[str, ...]]:
        """The parents with sites, and the inputs of the site that each may enter.

        A parent without a site stands for its own parents.
        """
        routed = {name for names in variable.routes.values() for name in names}
        entering: dict[str, tuple[str, ...]] = {}

        def add_parent(name: str, inputs: tuple[str, ...]) -> None:
            if name in routed:
                inputs = tuple(i for i in site.inputs if name in variable.routes.get(i, ()))
            if name in self.program.dropped or name not in self.program.variables:
                return
            parent = self.program.variables[name]
            if parent.sites:
                entering[name] = tuple(dict.fromkeys([*entering.get(name, ()), *inputs]))
            else:
                for grandparent in parent.parents:
                    add_parent(grandparent, inputs)

        for name in variable.parents:
            add_parent(name, site.inputs)
        return entering

    def _list_sites(self, variable: Variable, parent: str) -> tuple[Site, ...]:
        """The sites by which a parent enters a variable."""
        through = variable.through.get(parent)
        return self.program.variables[parent].sites if through is None else (through,)

    def _make_nodes(
        self, name: str, writer: Site, reader: Site, inputs: tuple[str, ...], path: Path
    ) -> Iterator[TreeNode]:
        """The copies of one parent's site, one for each input of the reader that it can enter."""
        parent = self.program.variables[name]
        for feeds in inputs:
            if not self._has_edge(writer, reader, feeds):
                continue
            if not self.share_position(writer, reader, feeds):
                continue
            self.n_nodes += 1
            own_path = (*path, _name_step(name, writer, feeds))
            tie = (*path, name) if parent.together else None
            if self.n_nodes > _MOST_NODES:
                self._add_problem(
                    parent,
                    f"the tree of claims has more than {_MOST_NODES} nodes: claim fewer paths",
                )
                return
            if writer in parent.sites:
                children = self.make_children(parent, writer, own_path)
            else:  # a site on the way: it carries the same variable
                children = tuple(
                    node
                    for inner in parent.sites
                    for node in self._make_nodes(name, inner, writer, writer.inputs, own_path)
                )
            yield TreeNode(own_path, name, writer, feeds, children, tie)

    def _has_edge(self, writer: Site, reader: Site, feeds: str) -> bool:
        """Whether the graph has that edge; neurons and features stand where their MLP does."""
        if writer.kind == "logits":
            return False
        read = self.graph.reader_of(reader.node, feeds)
        return self.graph.writer_of(writer.node).stage <= read.stage

    def _add_unreachable(
        self, variable: Variable, parent: str, site: Site, inputs: tuple[str, ...]
    ) -> None:
        sites = ", ".join(map(str, self._list_sites(variable, parent)))
        into = " or ".join(f"{site}{_format_input(i)}" for i in inputs)
        self._add_problem(
            variable,
            f"{parent} at {sites} cannot feed {into or f'{site}, which reads nothing'}: either it "
            "is computed no earlier, or its positions are not the ones that are read there (q, "
            "MLPs and logits read their own position only)",
        )

    def _add_double_claim(self, variable: Variable, site: Site, a: TreeNode, b: TreeNode) -> None:
        who = (
            f"{a.variable} at {a.site} and {b.variable} at {b.site}"
            if a.site != b.site
            else f"{a.variable} and {b.variable}, both at {a.site},"
        )
        self._add_problem(
            variable,
            f"{who} claim the same path into {site}{_format_input(a.feeds)}: one path carries one "
            "variable; make them one, or keep one of them",
        )

    def _add_problem(self, variable: Variable, message: str) -> None:
        self.problems.append(ClaimProblem(variable.name, message))
