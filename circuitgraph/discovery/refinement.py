"""Refinement: MLPs of a circuit are cut into neurons where these matter, and the search goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, SearchError, check_at_least, list_problems
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import edge_name
from circuitgraph.models.spec import Spec

AUTO = "auto"
Neurons = Mapping[int, tuple[int, ...]]
"""Numbers of neurons by layer."""


def read_granularity(
    spec: Spec, granularity: str, refine: Sequence[str], n_units: int
) -> Neurons | None:
    """The neurons that a search asks for by number; None if it asks for ``auto``, or for none.

    Args:
        granularity, refine, n_units: as of `circuitgraph.discover`.

    Raises:
        ArgumentError: they make no sense together, or with a model of that shape.
    """
    check_at_least("n_units", n_units, 1)
    if granularity == "head":
        if list(refine) != [AUTO]:
            raise ArgumentError(
                f"refine is {list(refine)}, but the granularity 'head': use granularity 'neuron'."
            )
        return None
    if granularity != "neuron":
        raise ArgumentError(
            f"granularity is {granularity!r}; expected 'head' or 'neuron'. Features of "
            "dictionaries are no nodes yet."
        )
    if spec.d_mlp is None or spec.experts is not None:
        why = "has no MLPs" if spec.d_mlp is None else "has a neuron once for each expert"
        raise ArgumentError(f"granularity is 'neuron', but the model {why}: use 'head'.")
    return read_refinement(refine, spec.d_mlp)


def read_refinement(texts: Sequence[str], d_mlp: int | None) -> Neurons | None:
    """Which neurons ``m3:all`` and ``m3:117,204`` name; None for ``auto``.

    Args:
        texts: one for each MLP.
        d_mlp: hidden width of the model's MLPs; None if it has none.

    Raises:
        ArgumentError: a text of another form, an MLP twice, a neuron twice or one that no MLP has.
    """
    asked = parse_refinement(texts)
    if asked is None:
        return None
    width, every = d_mlp or 0, tuple(range(d_mlp or 0))
    chosen = {layer: every if some is None else some for layer, some in asked.items()}
    problems = [
        f"m{layer}: an MLP of this model has {width:,} neurons, from 0; asked for is {max(some)}"
        for layer, some in chosen.items()
        if not some or max(some) >= width
    ]
    if problems:
        raise ArgumentError(list_problems("These MLPs cannot be refined:", problems))
    return chosen


def parse_refinement(texts: Sequence[str]) -> dict[int, tuple[int, ...] | None] | None:
    """What `read_refinement` reads, of any model: numbers by layer, or None for all of them.

    Raises:
        ArgumentError: a text of another form, an MLP twice or a neuron twice.
    """
    if list(texts) == [AUTO]:
        return None
    chosen: dict[int, tuple[int, ...] | None] = {}
    problems = []
    for text in texts:
        match = re.fullmatch(r"m(\d{1,9}):(all|\d{1,9}(?:,\d{1,9})*)", text.strip().lower())
        if match is None:
            problems.append(
                f"{text!r}: expected 'auto' alone, or for example 'm3:all', 'm3:117,204'"
            )
            continue
        layer, listed = int(match[1]), match[2]
        numbers = () if listed == "all" else tuple(map(int, listed.split(",")))
        if layer in chosen:
            problems.append(f"{text!r}: m{layer} is named twice; put its neurons into one list")
        if len(set(numbers)) < len(numbers):
            problems.append(f"{text!r}: a neuron is named twice")
        chosen[layer] = tuple(sorted(numbers)) or None
    if problems or not chosen:
        problems = problems or ["nothing is named: expected 'auto' or for example 'm3:117,204'"]
        raise ArgumentError(list_problems("These MLPs cannot be refined:", problems))
    return chosen


def refine_graph(graph: Graph, neurons: Neurons) -> Graph:
    """The graph with these neurons as nodes of their own."""
    for layer in sorted(neurons):
        graph = graph.refine(f"m{layer}", neurons=neurons[layer])
    return graph


def choose_neurons(experiment: Experiment, circuit: Circuit, n: int) -> Neurons:
    """The ``n`` neurons that matter most, among those of the MLPs in a circuit.

    Args:
        experiment: with whole MLPs; importances are those of `Attribution.unit_importances`.

    Raises:
        SearchError: there is no MLP in the circuit.
    """
    layers = sorted(
        writer.node.layer
        for writer in circuit.graph.writers
        if writer.kind == "mlp" and writer.name in set(circuit.nodes)
    )
    if not layers:
        raise SearchError(
            f"No MLP is in the circuit of {len(circuit)} edges: there is nothing to refine. Use a "
            "lower threshold, or granularity 'head'."
        )
    importances = experiment.attribution.unit_importances()[layers]
    # highest first; of equal ones the first in the model's order
    ranked = np.argsort(-importances, axis=None, kind="stable")[:n]
    rows, numbers = np.unravel_index(ranked, importances.shape)
    return {
        layer: tuple(sorted(numbers[rows == row].tolist()))
        for row, layer in enumerate(layers)
        if (rows == row).any()
    }


def refine_edges(
    whole: Graph, mask: Bool[np.ndarray, " edges"], refined: Graph
) -> Bool[np.ndarray, " refined_edges"]:
    """A mask over a refined graph in which all parts of an MLP do as the MLP did."""
    kept = {edge for edge, is_kept in zip(whole.edges, mask, strict=True) if is_kept}
    return np.array(
        [
            edge in kept
            if writer < 0
            else edge_name(str(refined.writers[writer].node.whole), refined.readers[reader].name)
            in kept
            for edge, reader, writer in zip(refined.edges, *refined.ends, strict=True)
        ]
    )


def measure_rests(experiment: Experiment, circuit: Circuit) -> dict[str, float]:
    """What the loss rises by when all edges from one MLP's rest are removed from a circuit.

    It is what a circuit of neurons owes to neurons that are no nodes of their own; an entry for
    each rest that has a kept edge.
    """
    graph = circuit.graph
    rests = [
        index
        for index, writer in enumerate(graph.writers)
        if writer.kind == "rest" and circuit.mask[graph.ends[1] == index].any()
    ]
    masks = [circuit.mask, *(circuit.mask & (graph.ends[1] != index) for index in rests)]
    before, *after = experiment.losses(np.stack(masks))
    return {
        graph.writers[index].name: float(loss - before)
        for index, loss in zip(rests, after, strict=True)
    }
