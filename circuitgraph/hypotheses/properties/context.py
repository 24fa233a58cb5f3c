"""What property tests need of a study: its prompts, and what runs the model on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.errors import unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import edge_name
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.language import Variable
from circuitgraph.hypotheses.program import Program
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.properties.running import ModelRunner
from circuitgraph.hypotheses.study import Study

_ATTRIBUTE = "_property_context"  # of the study, where its context is kept


class PropertyContext:
    """A study under property tests.

    Attributes:
        source: of prompts. runner: of the model.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.source = study, PromptSource(study)
        self.runner = ModelRunner(self.source)

    @classmethod
    def of_study(cls, study: Study) -> PropertyContext:
        """The study's context, made once: its pool of prompts takes longer to draw than a test."""
        attributes = vars(study)
        if _ATTRIBUTE not in attributes:
            attributes[_ATTRIBUTE] = cls(study)
        return attributes[_ATTRIBUTE]

    @property
    def program(self) -> Program:
        """The hypothesis's."""
        return self.study.program

    @property
    def metric(self) -> str:
        """The name of the hypothesis's metric, or its task's."""
        return self.runner.metric.name

    def find_variable(self, name: str) -> Variable:
        """The variable of that name; raises `UnknownNameError`."""
        if name not in self.program.variables:
            raise unknown_name("variable", name, self.program.variables)
        return self.program.variables[name]

    def make_activations(self, prompts: Sequence[Prompt]) -> Activations:
        """Activations of prompts, ready to be patched."""
        return self.runner.runs.make_activations(
            [self.source.tokens.tokenise_prompt(prompt) for prompt in prompts],
            self.study.find_positions(prompts),
            self.study.roles,
        )

    @cached_property
    def tree(self) -> TreeNode:
        """The tree of claims; raises `HypothesisError` where a claim has no path."""
        return self.study.tree()

    @cached_property
    def claimed_edges(self) -> tuple[str, ...]:
        """The edges of the graph that the claims go along."""
        edges = {}
        for node in self.tree.walk():
            for child in node.children:
                edges[_name_edge(self.study.graph, child, node)] = None
        return tuple(edges)


def _name_edge(graph: Graph, child: TreeNode, parent: TreeNode) -> str:
    writer = graph.writer_of(child.site.node)
    reader = graph.reader_of(parent.site.node, child.feeds)
    return graph.edges[graph.edge_index(edge_name(writer.name, reader.name))]
