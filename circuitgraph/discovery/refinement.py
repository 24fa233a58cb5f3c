"""Refinement: MLPs of a circuit are cut into neurons or features, and the search goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import (
    ArgumentError,
    SearchError,
    check_at_least,
    check_choice,
    list_problems,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import Node, edge_name
from circuitgraph.models.language_model import LanguageModel

AUTO = "auto"
GRANULARITIES = ("head", "neuron", "feature")
Units = Mapping[int, tuple[int, ...]]
"""Numbers of neurons, or of features, by layer."""


def read_granularity(
    model: LanguageModel, granularity: str, refine: Sequence[str], n_units: int
) -> Units | None:
    """The units that a search asks for by number; None if it asks for ``auto``, or for none.

    Args:
        granularity, refine, n_units: as of `circuitgraph.discover`.

    Raises:
        ArgumentError: they make no sense together, or with this model.
    """
    check_at_least("n_units", n_units, 1)
    check_choice("granularity", granularity, GRANULARITIES)
    if granularity == "head":
        if list(refine) != [AUTO]:
            raise ArgumentError(
                f"refine is {list(refine)}, but the granularity 'head': use granularity 'neuron' "
                "or 'feature'."
            )
        return None
    return read_refinement(refine, granularity, count_units(model, granularity))


def check_has_errors(granularity: str) -> None:
    """Raise `ArgumentError` where there are no errors of dictionaries that could be frozen."""
    if granularity != "feature":
        raise ArgumentError(
            f"frozen_errors is True, but the granularity {granularity!r}, which has no errors of "
            "dictionaries: leave it out, or use granularity 'feature'."
        )


def check_has_units(granularity: str) -> None:
    """Raise `ArgumentError` where there are no units that could have inputs of their own."""
    if granularity == "head":
        raise ArgumentError(
            "own_inputs is True, but the granularity 'head', which has no neurons or features: "
            "leave it out, or use granularity 'neuron' or 'feature'."
        )


def count_units(model: LanguageModel, kind: str) -> dict[int, int]:
    """How many neurons or features the MLP of each layer has that can be cut into them.

    Raises:
        ArgumentError: no layer's MLP can; says why, and what to use.
    """
    spec = model.spec
    if kind == "feature":
        if not model.dictionaries:
            raise ArgumentError(
                "granularity is 'feature', but no dictionary is loaded beside the model: give one "
                "(--dictionary, or attach_dictionaries), or use 'neuron'."
            )
        return {n: each.dictionary.n_features for n, each in model.dictionaries.items()}
    if spec.d_mlp is None or spec.experts is not None:
        why = "has no MLPs" if spec.d_mlp is None else "has a neuron once for each expert"
        raise ArgumentError(f"granularity is 'neuron', but the model {why}: use 'head'.")
    return dict.fromkeys(range(spec.n_layers), spec.d_mlp)


def read_refinement(texts: Sequence[str], kind: str, n_units: Mapping[int, int]) -> Units | None:
    """Which units ``m3:all`` and ``m3:117,204`` name; None for ``auto``.

    Args:
        texts: one for each MLP.
        kind: ``neuron`` or ``feature``.
        n_units: how many of them the MLP of each layer has; see `count_units`.

    Raises:
        ArgumentError: a text of another form, an MLP twice, a unit twice or one that is not there.
    """
    asked = parse_refinement(texts)
    if asked is None:
        return None
    chosen, problems = dict[int, tuple[int, ...]](), list[str]()
    for layer, some in asked.items():
        n = n_units.get(layer, 0)
        chosen[layer] = tuple(range(n)) if some is None else some
        if not n:
            listed = ", ".join(f"m{other}" for other in n_units)
            problems.append(f"m{layer}: it has no {kind}s here; those that have: {listed}")
        elif max(chosen[layer]) >= n:
            problems.append(
                f"m{layer} has {n:,} {kind}s, from 0; asked for is {max(chosen[layer])}"
            )
    if problems:
        raise ArgumentError(list_problems("These MLPs cannot be refined:", problems))
    return chosen


def parse_refinement(texts: Sequence[str]) -> dict[int, tuple[int, ...] | None] | None:
    """What `read_refinement` reads, of any model: numbers by layer, or None for all of them.

    Raises:
        ArgumentError: a text of another form, an MLP twice or a number twice.
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
            problems.append(f"{text!r}: m{layer} is named twice; put its numbers into one list")
        if len(set(numbers)) < len(numbers):
            problems.append(f"{text!r}: a number stands twice")
        chosen[layer] = tuple(sorted(numbers)) or None
    if problems or not chosen:
        problems = problems or ["nothing is named: expected 'auto' or for example 'm3:117,204'"]
        raise ArgumentError(list_problems("These MLPs cannot be refined:", problems))
    return chosen


def refine_graph(
    graph: Graph,
    kind: str,
    units: Units,
    *,
    frozen_errors: bool = False,
    own_inputs: bool = False,
) -> Graph:
    """The graph with these neurons or features as nodes of their own; see `Graph.refine`."""
    for layer in sorted(units):
        if kind == "neuron":
            graph = graph.refine(f"m{layer}", neurons=units[layer], own_inputs=own_inputs)
        else:
            graph = graph.refine(
                f"m{layer}",
                features=units[layer],
                frozen_error=frozen_errors,
                own_inputs=own_inputs,
            )
    return graph


def choose_units(experiment: Experiment, circuit: Circuit, kind: str, n: int) -> Units:
    """The ``n`` neurons or features that matter most, among those of the MLPs in a circuit.

    Args:
        experiment: with whole MLPs; importances are those of `Attribution.neuron_importances` or
            `feature_importances`.

    Raises:
        SearchError: there is no MLP in the circuit that can be cut.
    """
    attribution = experiment.attribution
    of_all = (
        attribution.neuron_importances() if kind == "neuron" else attribution.feature_importances()
    )
    layers = sorted(
        writer.node.layer
        for writer in circuit.graph.writers
        if writer.kind == "mlp" and writer.name in circuit.nodes and writer.node.layer in of_all
    )
    if not layers:
        raise SearchError(
            f"No MLP that has {kind}s is in the circuit of {len(circuit)} edges: there is nothing "
            "to refine. Use a lower threshold, or granularity 'head'."
        )
    importances = np.stack([of_all[layer] for layer in layers])
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
            else edge_name(
                _name_whole(refined.writers[writer].node), refined.readers[reader].whole_name
            )
            in kept
            for edge, reader, writer in zip(refined.edges, *refined.ends, strict=True)
        ]
    )


def _name_whole(node: Node) -> str:
    """The writer in the graph of whole MLPs, whose heads may be in parts."""
    return str(node.whole if node.is_in_mlp else node)


def measure_rests(experiment: Experiment, circuit: Circuit) -> dict[str, float]:
    """What the loss rises by when all edges from one MLP's rest are removed from a circuit.

    It is what a circuit of units owes to what is no node of its own; likewise of the rests of heads
    and the errors of dictionaries. An entry for each that has a kept edge.
    """
    graph = circuit.graph
    rests = [
        index
        for index, writer in enumerate(graph.writers)
        if (writer.node.is_rest or writer.kind == "error")
        and circuit.mask[graph.ends[1] == index].any()
    ]
    masks = [circuit.mask, *(circuit.mask & (graph.ends[1] != index) for index in rests)]
    before, *after = experiment.losses(np.stack(masks))
    return {
        graph.writers[index].name: float(loss - before)
        for index, loss in zip(rests, after, strict=True)
    }
