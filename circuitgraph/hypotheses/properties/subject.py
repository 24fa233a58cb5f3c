"""What property tests need of a study: its prompts, what runs the model on them, and pools of a few
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from circuitgraph.engine.tree.activations import Pool
from circuitgraph.errors import unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import edge_name
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.language import Variable
from circuitgraph.hypotheses.program import Program
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.running import ROWS, Runner
from circuitgraph.hypotheses.properties.supply import Supply
from circuitgraph.hypotheses.properties.tokens import Shape, assemble
from circuitgraph.hypotheses.study import Study

_KEPT = "_subject_of_properties"


class Subject:
    """A study under property tests.

    Attributes:
        supply: of prompts. runner: of the model.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.supply = study, Supply(study)
        self.runner = Runner(self.supply)
        self._shape: Shape | None = None

    @classmethod
    def of(cls, study: Study) -> Subject:
        """The study's own, made once and kept with it: its pool of prompts takes longer to draw
        than a test.
        """
        kept = vars(study)
        if _KEPT not in kept:
            kept[_KEPT] = cls(study)
        return kept[_KEPT]

    @property
    def program(self) -> Program:
        """The hypothesis's."""
        return self.study.program

    @property
    def metric(self) -> str:
        """The name of the hypothesis's metric, or its task's."""
        return self.runner.metric.name

    def variable(self, name: str) -> Variable:
        """The variable of that name; raises `UnknownNameError`."""
        if name not in self.program.variables:
            raise unknown_name("variable", name, self.program.variables)
        return self.program.variables[name]

    def pool(self, prompts: Sequence[Prompt]) -> Pool:
        """Up to 2 x `ROWS` prompts, ready to be patched; always of one shape."""
        largest = Shape.of(prompts)
        self._shape = (self._shape or self.supply.shape).union(largest)
        places = np.array(
            [[p.position[role] for role in self.study.roles] for p in prompts], np.int32
        )
        return Pool(
            self.study.model,
            assemble(prompts, self.supply.tokens, self._shape),
            places.reshape(len(prompts), -1),
            self.study.roles,
            rows=2 * ROWS,
            length=self._shape.length,
            launch=2 * ROWS,
        )

    @cached_property
    def tree(self) -> TreeNode:
        """The tree of claims; raises `HypothesisError` where a claim has no path."""
        return self.study.tree()

    @cached_property
    def claimed(self) -> tuple[str, ...]:
        """The edges of the graph that the claims go along."""
        found = {}
        for node in self.tree.walk():
            for child in node.children:
                found[_edge(self.study.graph, child, node)] = None
        return tuple(found)


def _edge(graph: Graph, writer: TreeNode, reader: TreeNode) -> str:
    read = graph.reader_of(reader.site.node, writer.feeds)
    return graph.edges[
        graph.edge_index(edge_name(graph.writer_of(writer.site.node).name, read.name))
    ]
