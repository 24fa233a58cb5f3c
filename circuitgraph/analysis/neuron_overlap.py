"""Neurons of a circuit beside those of comparative neuron analysis: how many are in both lists."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.analysis.heads import name_head
from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.analysis.neuron_choice import check_answers
from circuitgraph.analysis.neuron_comparison import find_strongest_head, measure_falls
from circuitgraph.analysis.neuron_names import name_neuron, rank_neurons
from circuitgraph.analysis.places import check_neurons
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@dataclass(frozen=True)
class NeuronOverlap:
    """How many neurons of a circuit are among as many of comparative neuron analysis.

    Attributes:
        head: the head that was silenced.
        shared: the neurons in both lists.
        n_listed: the length of each list. n_neurons: how many neurons the MLPs have.
        by_chance: how many two random lists of this length share on average.
        probability: that two random lists share at least as many.
    """

    head: str
    shared: tuple[str, ...]
    n_listed: int
    n_neurons: int
    by_chance: float
    probability: float

    def __str__(self) -> str:
        return (
            f"{len(self.shared)} of {self.n_listed} neurons are among the {self.n_listed} that "
            f"matter less without {self.head}; by chance {self.by_chance:.1f} "
            f"(p = {self.probability:.2g})"
        )


def measure_neuron_overlap(
    circuit: Circuit, model: LanguageModel, prompts: Prompts, head: str | None = None
) -> NeuronOverlap:
    """Compare the neurons that a circuit keeps with those whose importance falls without a head.

    Args:
        circuit: of a graph in which neurons are nodes; those that a kept edge touches count.
        head: as of ``compare-neurons``.

    Raises:
        UnknownNameError: the model has no such head.
        ArgumentError: no neuron in the circuit; experts, or no MLPs.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    from scipy import stats  # takes a second to import

    check_neurons(model, "the overlap of neurons")
    kinds = {writer.name: writer.kind for writer in circuit.graph.writers}
    kept = {name for name in circuit.nodes if kinds.get(name) == "neuron"}
    if not kept:
        raise ArgumentError(
            f"There is no neuron in the circuit of {len(circuit)} edges: search with granularity "
            "'neuron'."
        )
    check_answers(model, prompts, "the overlap of neurons")
    asked = None if head is None else find_head(model, head)
    place = (asked.layer, asked.index) if asked else find_strongest_head(model, prompts)
    falls = measure_falls(model, prompts, place)
    fallen = {name_neuron(neuron) for neuron in rank_neurons(falls, len(kept))}
    shared, n = tuple(sorted(kept & fallen)), len(kept)
    chance = stats.hypergeom(falls.size, n, n)
    return NeuronOverlap(
        name_head(place),
        shared,
        n,
        falls.size,
        n * n / falls.size,
        float(chance.sf(len(shared) - 1)),
    )
