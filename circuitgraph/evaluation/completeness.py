"""Completeness: taking a part out of the circuit should do what it does in the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement_record import CompletenessRecord, Knockout
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.baselines import (
    Baselines,
    check_graph,
    evaluate_masks,
    normalise_means,
)
from circuitgraph.evaluation.intervals import estimate_from_means, estimate_mean
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

SHARES = (0.1, 0.25, 0.5, 0.75)  # of the circuit's edges that a random K holds, taken in turn

Mask = Bool[np.ndarray, " edges"]


@dataclass(frozen=True)
class _EdgeSet:
    """A set K of a circuit's edges."""

    kind: Literal["random", "nodes"]
    nodes: tuple[str, ...]
    mask: Mask


@dataclass(frozen=True)
class _KnockoutValues:
    """The metric of each prompt without K, in the circuit and in the model."""

    edges: _EdgeSet
    circuit: Float[np.ndarray, " batch"]
    model: Float[np.ndarray, " batch"]


def measure_completeness(
    experiment: Experiment,
    circuit: Circuit,
    *,
    seed: int,
    n_random: int = 20,
    n_greedy: int = 3,
    bar: bool = False,
) -> CompletenessRecord:
    """|m(C - K) - m(M - K)| / |m(full) - m(empty)| over sets K of the circuit's edges.

    As Wang et al. (2022), who knock out nodes. K is: random edges, a tenth to three quarters of
    the circuit; for each node of the circuit all edges into it and out of it; and from the worst of
    these nodes on, greedily, the edges of one more node at a time, while that makes it worse.

    Args:
        experiment: the experiment over prompts that the search did not see.
        n_random: number of random K.
        n_greedy: how many nodes the greedy search knocks out together at most; below 2 there is
            none.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    check_at_least("n_random", n_random, 1)
    baselines = Baselines.of(experiment)
    if not len(circuit) or not baselines.differ:
        return CompletenessRecord(worst=None, random=None, nodes={}, n_random=0, n_sets=0)
    of_nodes = {name: find_node_edges(circuit.graph, name) & circuit.mask for name in circuit.nodes}
    edge_sets = [
        *_draw_edge_sets(circuit, n_random, seed),
        *(_EdgeSet("nodes", (name,), mask) for name, mask in of_nodes.items()),
    ]
    knockouts = _evaluate_knockouts(experiment, circuit, edge_sets, bar)
    random, single = knockouts[:n_random], knockouts[n_random:]
    share = experiment.metric.is_share

    def size(knockout: _KnockoutValues) -> float:
        return _measure_incompleteness(knockout, baselines)

    for n in range(2, n_greedy + 1):
        worst = max((knockout for knockout in knockouts if knockout.edges.nodes), key=size)
        # The last node made it no worse: the greedy search is over.
        if len(worst.edges.nodes) < n - 1:
            break
        wider = [
            _EdgeSet("nodes", (*worst.edges.nodes, name), worst.edges.mask | mask)
            for name, mask in of_nodes.items()
            if name not in worst.edges.nodes
        ]
        knockouts += _evaluate_knockouts(experiment, circuit, wider, bar)
    return CompletenessRecord(
        worst=_make_record(circuit, max(knockouts, key=size), baselines, seed, share),
        random=estimate_from_means(
            _average_incompleteness, _stack_samples(random, baselines), seed, share=share
        ),
        nodes={knockout.edges.nodes[0]: size(knockout) for knockout in single},
        n_random=n_random,
        n_sets=len(knockouts),
    )


def count_masks(circuit: Circuit, n_random: int = 20, n_greedy: int = 3) -> int:
    """How many masks `measure_completeness` evaluates, at most."""
    return 2 + 2 * (n_random + len(circuit.nodes) * max(1, n_greedy))


def find_node_edges(graph: Graph, node: str) -> Mask:
    """The edges into a node, also those of an input shared with other heads, and out of it."""
    dst, src = graph.ends
    into = np.array([node in graph.reader_nodes(reader) for reader in graph.readers])[dst]
    writers = [writer.name for writer in graph.writers]
    return into | (src == writers.index(node)) if node in writers else into


def _draw_edge_sets(circuit: Circuit, n: int, seed: int) -> Iterator[_EdgeSet]:
    """``n`` random sets K of at least one edge each, their sizes taken in turn from `SHARES`."""
    rng, kept = np.random.default_rng([seed, n, len(circuit)]), np.flatnonzero(circuit.mask)
    for i in range(n):
        size = max(1, round(SHARES[i % len(SHARES)] * len(kept)))
        mask = np.zeros(circuit.graph.n_edges, bool)
        mask[rng.choice(kept, size, replace=False)] = True
        yield _EdgeSet("random", (), mask)


def _evaluate_knockouts(
    experiment: Experiment, circuit: Circuit, edge_sets: Sequence[_EdgeSet], bar: bool
) -> list[_KnockoutValues]:
    # C - K and M - K of the first set, then of the second, ...: rows 2 i and 2 i + 1.
    masks = (mask for k in edge_sets for mask in (circuit.mask & ~k.mask, ~k.mask))
    values = evaluate_masks(experiment, masks, 2 * len(edge_sets), what="completeness", bar=bar)
    return [_KnockoutValues(k, *values[2 * i : 2 * i + 2]) for i, k in enumerate(edge_sets)]


def _measure_incompleteness(knockout: _KnockoutValues, baselines: Baselines) -> float:
    samples = _stack_samples([knockout], baselines)
    # The sample is its own only resample: [4, batch] -> [4, 1] -> [1].
    return float(_average_incompleteness(samples.mean(axis=1, keepdims=True, dtype=np.float64))[0])


def _stack_samples(
    knockouts: Sequence[_KnockoutValues], baselines: Baselines
) -> Float[np.ndarray, "n batch"]:
    """Rows: empty, full, then every K in the circuit, then every K in the model."""
    in_circuit = [knockout.circuit for knockout in knockouts]
    in_model = [knockout.model for knockout in knockouts]
    return np.stack([baselines.empty, baselines.full, *in_circuit, *in_model])


def _average_incompleteness(
    means: Float[np.ndarray, "n resamples"],
) -> Float[np.ndarray, " resamples"]:
    """The mean over several K, from the means of the rows of `_stack_samples`."""
    empty, full, *values = means
    in_circuit, in_model = np.split(np.stack(values), 2)  # each [K, resamples]
    return np.abs(
        normalise_means(in_circuit, empty, full) - normalise_means(in_model, empty, full)
    ).mean(axis=0)


def _make_record(
    circuit: Circuit, knockout: _KnockoutValues, baselines: Baselines, seed: int, share: bool
) -> Knockout:
    return Knockout(
        kind=knockout.edges.kind,
        nodes=list(knockout.edges.nodes),
        edges=[circuit.graph.edges[i] for i in np.flatnonzero(knockout.edges.mask)],
        circuit=estimate_mean(knockout.circuit, seed, share=share),
        model=estimate_mean(knockout.model, seed, share=share),
        incompleteness=estimate_from_means(
            _average_incompleteness, _stack_samples([knockout], baselines), seed, share=share
        ),
    )
