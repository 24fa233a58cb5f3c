"""From a program to its tree of claims: every path from an input to the output gets its own copy of
every site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS, Node
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.language import Variable
from circuitgraph.hypotheses.program import Program

Meets = Callable[[Site, Site, str], bool]
"""Whether a writer's site and that input of a reader's site have a position in common, in every
prompt.
"""

_MOST_NODES = 500  # of a tree; their number can grow exponentially with depth


@dataclass(frozen=True)
class Problem:
    """Something wrong with one variable's claim, in words."""

    variable: str
    message: str


@dataclass
class Unrolled:
    """A tree of claims, and what kept parts of the program out of it. With problems the tree is not
    to be used.
    """

    root: TreeNode
    problems: list[Problem] = field(default_factory=list)


def unroll(program: Program, graph: Graph, meets: Meets) -> Unrolled:
    """The tree of a program's claims in a model's graph."""
    output = program.variables[program.output]
    top = output.sites[0] if output.sites else Site(Node("logits"))
    found = Unrolled(TreeNode((_step(output.name, top, ""),), output.name, top))
    grow = _Grow(program, graph, meets, found.problems)
    found.root = TreeNode(
        found.root.path, output.name, top, children=grow.children(output, top, found.root.path)
    )
    found.problems[:] = dict.fromkeys(
        found.problems
    )  # a variable on several paths is wrong on each
    return found


def contains(whole: Site, part: Site) -> bool:
    """Whether what one site writes holds what the other writes: the same node, or its part."""
    return whole.node in (part.node, part.node.whole)


def overlap(a: Site, b: Site) -> bool:
    """Whether two sites share something at a position that both name, or that one names by naming
    none.
    """
    same = contains(a, b) or contains(b, a)
    return same and (not a.roles or not b.roles or bool({*a.roles} & {*b.roles}))


def _step(variable: str, site: Site, feeds: str) -> str:
    place = f"{site}<{feeds}>" if feeds in ATTENTION_INPUTS else str(site)
    return f"{variable} [{place}]"


@dataclass
class _Grow:
    program: Program
    graph: Graph
    meets: Meets
    problems: list[Problem]
    n_nodes: int = 0

    def children(self, variable: Variable, site: Site, path: Path) -> tuple[TreeNode, ...]:
        """All claimed inputs of one copy of a variable's site."""
        found: list[TreeNode] = []
        for name, inputs in self._entering(variable, site).items():
            nodes = [
                node
                for at in self._sites(variable, name)
                for node in self._nodes(name, at, site, inputs, path)
            ]
            if not nodes:
                self._cannot(variable, name, site, inputs)
            found += [node for node in nodes if node not in found]
        for a, b in combinations(found, 2):
            if a.feeds == b.feeds and overlap(a.site, b.site):
                who = (
                    f"{a.variable} at {a.site} and {b.variable} at {b.site}"
                    if a.site != b.site
                    else (f"{a.variable} and {b.variable}, both at {a.site},")
                )
                self._problem(
                    variable,
                    f"{who} claim the same path into {site}{_input(a.feeds)}: one path carries one "
                    "variable; make them one, or keep one of them",
                )
        return tuple(found)

    def _entering(self, variable: Variable, site: Site) -> dict[str, tuple[str, ...]]:
        """The sited parents, those behind steps without a site among them, with the inputs that
        each may enter.
        """
        routed = {name for names in variable.routes.values() for name in names}
        found: dict[str, tuple[str, ...]] = {}

        def enter(name: str, inputs: tuple[str, ...]) -> None:
            if name in routed:
                inputs = tuple(i for i in site.inputs if name in variable.routes.get(i, ()))
            if name in self.program.dropped or name not in self.program.variables:
                return
            parent = self.program.variables[name]
            if parent.sites:
                found[name] = tuple(dict.fromkeys([*found.get(name, ()), *inputs]))
            else:
                for above in parent.parents:
                    enter(above, inputs)

        for name in variable.parents:
            enter(name, site.inputs)
        return found

    def _sites(self, variable: Variable, parent: str) -> Iterator[Site]:
        through = variable.through.get(parent)
        yield from self.program.variables[parent].sites if through is None else (through,)

    def _nodes(
        self, name: str, at: Site, site: Site, inputs: tuple[str, ...], path: Path
    ) -> Iterator[TreeNode]:
        """The copies of one parent's site, one for each input that it can enter."""
        parent = self.program.variables[name]
        for feeds in inputs:
            if not self._legal(at, site, feeds) or not self.meets(at, site, feeds):
                continue
            self.n_nodes += 1
            own = (*path, _step(name, at, feeds))
            tie = (*path, name) if parent.together else None
            if self.n_nodes > _MOST_NODES:
                self._problem(
                    parent,
                    f"the tree of claims has more than {_MOST_NODES} nodes: claim fewer paths",
                )
                return
            if at in parent.sites:
                children = self.children(parent, at, own)
            else:  # a site on the way: it carries the same variable
                children = tuple(
                    node
                    for inner in parent.sites
                    for node in self._nodes(name, inner, at, at.inputs, own)
                )
            yield TreeNode(own, name, at, feeds, children, tie)

    def _legal(self, writer: Site, reader: Site, feeds: str) -> bool:
        """Whether the graph has that edge; neurons and features stand where their MLP does."""
        if writer.kind == "logits":
            return False
        read = self.graph.reader_of(reader.node, feeds)
        return self.graph.writer_of(writer.node).stage <= read.stage

    def _cannot(self, variable: Variable, parent: str, site: Site, inputs: tuple[str, ...]) -> None:
        at = ", ".join(map(str, self._sites(variable, parent)))
        into = " or ".join(f"{site}{_input(i)}" for i in inputs) or f"{site}, which reads nothing"
        self._problem(
            variable,
            f"{parent} at {at} cannot feed {into}: either it is computed no earlier, or its "
            "positions are not the ones that are read there (q, MLPs and logits read their own "
            "position only)",
        )

    def _problem(self, variable: Variable, message: str) -> None:
        self.problems.append(Problem(variable.name, message))


def _input(feeds: str) -> str:
    return f"<{feeds}>" if feeds in ATTENTION_INPUTS else ""
