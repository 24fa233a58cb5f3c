"""The circuit that exact ACDC finds in a constructed model, beside the true circuit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.graph.node import Node
from circuitgraph.models.constructed.compile import ConstructedModel
from circuitgraph.models.constructed.interpreter import compute_answer
from circuitgraph.models.constructed.rasp import Expression
from circuitgraph.models.constructed.rasp_program import RaspProgram
from circuitgraph.models.constructed.truth import Truth, find_truth
from circuitgraph.models.constructed.vocabulary import to_prompt, to_word
from circuitgraph.models.constructed.weights import MARGIN, make_units
from circuitgraph.tasks.prompts import Pair, Prompts
from circuitgraph.tasks.tokenise import tokenise_pairs


@dataclass(frozen=True)
class Agreement:
    """The true circuit of a model, and the circuit of a search.

    Attributes:
        least_kept: the least effect of a kept edge, in nats times prompts.
        greatest_removed: the greatest effect of a removed edge, in nats times prompts.
    """

    constructed: ConstructedModel
    truth: Truth
    edges: tuple[str, ...]
    least_kept: float
    greatest_removed: float

    @property
    def exact(self) -> bool:
        return self.truth.edges == self.edges

    @property
    def difference(self) -> str:
        """The edges that were missed and those that are not true, below the program."""
        missed = sorted(set(self.truth.edges) - set(self.edges))
        extra = sorted(set(self.edges) - set(self.truth.edges))
        program, uses_by_edge = self.constructed.program, self.constructed.uses_by_edge
        lines = [str(program)]
        for title, edges in (("missed", missed), ("not true", extra)):
            for edge in edges:
                uses = uses_by_edge.get(edge, ())
                served = [f"{use.operand} of {program.describe(use.consumer)}" for use in uses]
                lines.append(f"{title}: {edge}, which carries {'; '.join(served)}")
        lines.append(f"sufficient: {self.truth.sufficient}, dropped: {self.truth.dropped}")
        return "\n".join(lines)


def search_and_compare(constructed: ConstructedModel, prompts: Prompts) -> Agreement:
    """Search the prompts by exact ACDC for the KL under resampling.

    Where an edge's removal leaves every output right, the KL stays zero but for rounding (about
    1e-6). Where the removal makes the output of one prompt wrong, that prompt's KL becomes at least
    `MARGIN`, and the mean over prompts `MARGIN` / n. The threshold lies between: a thousandth of
    the latter.
    """
    n = len(prompts)
    circuit = run_search(
        Acdc(threshold=1e-3 * MARGIN / n, absolute=False),
        Experiment(constructed.model, prompts, metric="kl"),
    )
    scores = circuit.scores
    assert scores is not None
    kept, removed = scores[circuit.mask], scores[~circuit.mask]
    return Agreement(
        constructed,
        find_truth(constructed, prompts.pairs),
        tuple(circuit.edges),
        n * float(kept.min(initial=np.inf)),
        n * float(removed.max(initial=0.0)),
    )


@dataclass(frozen=True)
class NeuronAgreement:
    """The circuit that exact ACDC finds when every hidden unit of a model is a node.

    Attributes:
        edges: of the circuit, neurons taken as the MLP that they are of.
        strangers: edges from neurons whose expression the reader does not use, and from what is
            left of MLPs, which writes nothing.
        loss: the KL of the circuit.
    """

    truth: Truth
    edges: frozenset[str]
    strangers: tuple[str, ...]
    loss: float

    @property
    def exact(self) -> bool:
        return self.edges == set(self.truth.edges) and not self.strangers


def search_neurons_and_compare(
    constructed: ConstructedModel, prompts: Prompts, n_units: int
) -> NeuronAgreement:
    """Search with the first hidden units of every layer as nodes; the others are all zero.

    Args:
        n_units: in each layer, so that models of one size have one shape of graph.
    """
    graph = constructed.model.graph()
    for layer in range(graph.n_layers):
        graph = graph.refine(f"m{layer}", neurons=range(n_units))
    experiment = Experiment(constructed.model, prompts, metric="kl", graph=graph, frontier=True)
    threshold = 1e-3 * MARGIN / len(prompts)
    circuit = run_search(Acdc(threshold=threshold, absolute=False), experiment)
    owners = list_owners(constructed)
    edges, strangers = set(), []
    for edge in circuit.edges:
        writer, reader = edge.split("->")
        node = Node.parse(writer)
        whole = f"{node.whole}->{reader}"
        edges.add(whole)
        uses = constructed.uses_by_edge.get(whole, ())
        if node.kind == "rest" or (
            node.kind == "neuron"
            and owners[node.layer, node.index]
            not in [constructed.program.source_of(use) for use in uses]
        ):
            strangers.append(edge)
    return NeuronAgreement(
        find_truth(constructed, prompts.pairs),
        frozenset(edges),
        tuple(strangers),
        float(experiment.losses(circuit.mask[None])[0]),
    )


def list_owners(constructed: ConstructedModel) -> dict[tuple[int, int], Expression]:
    """Which expression each hidden unit computes, by layer and number."""
    owners: dict[tuple[int, int], Expression] = {}
    counts: Counter[int] = Counter()
    for expression in constructed.program.expressions:
        writer = constructed.layout.writers[expression]
        if not writer.startswith("m"):
            continue
        layer = int(writer[1:])
        for _ in make_units(expression, constructed.layout):
            owners[layer, counts[layer]] = expression
            counts[layer] += 1
    return owners


def random_prompts(constructed: ConstructedModel, n: int, seed: int) -> Prompts:
    """Random pairs of equally long sequences; the first pair is of the greatest length."""
    program, rng = constructed.program, np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        length = program.max_length
        if i > 0:
            length = int(rng.integers(program.min_length, program.max_length + 1))
        clean, corrupted = (_random_sequence(program, length, rng) for _ in range(2))
        answer = to_word(compute_answer(program, clean))
        pairs.append(Pair(to_prompt(clean), to_prompt(corrupted), answer))
    tokenizer = constructed.model.tokenizer
    assert tokenizer is not None
    return tokenise_pairs(pairs, tokenizer)


def _random_sequence(program: RaspProgram, length: int, rng: np.random.Generator) -> Sequence[str]:
    return [program.alphabet[i] for i in rng.integers(len(program.alphabet), size=length)]
