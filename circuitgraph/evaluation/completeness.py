"""Completeness: the model without a part of the circuit should behave like the circuit without that
part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.judgement import CompletenessRecord, Knockout
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import check_at_least
from circuitgraph.evaluation.ends import Ends, ask, check_graph, share
from circuitgraph.evaluation.intervals import mean_of, of_means
from circuitgraph.evaluation.nodes import edges_of
from circuitgraph.graph.circuit import Circuit

SHARES = (0.1, 0.25, 0.5, 0.75)  # of the circuit's edges that a random K holds, taken in turn

Mask = Bool[np.ndarray, " edges"]


@dataclass(frozen=True)
class _Part:
    """A set K of a circuit's edges."""

    kind: Literal["random", "nodes"]
    nodes: tuple[str, ...]
    mask: Mask


@dataclass(frozen=True)
class _Cut:
    """The metric of each prompt without K, in the circuit and in the model."""

    part: _Part
    circuit: Float[np.ndarray, " batch"]
    model: Float[np.ndarray, " batch"]


def completeness(
    experiment: Experiment,
    circuit: Circuit,
    *,
    seed: int,
    n_random: int = 20,
    n_greedy: int = 3,
    bar: bool = False,
) -> CompletenessRecord:
    """|m(C - K) - m(M - K)| / |m(full) - m(empty)| over parts K of the circuit C (Wang et al. 2022,
    but of edges).

    K is: random edges, a tenth to three quarters of the circuit; for each node of the circuit all
        of its edges that
    read into it or out of it; and from the worst of these on, greedily, the edges of one more node
    at a time, while that makes it worse.

    Args:
        experiment: over prompts that the search did not see.
        n_random: number of random K.
        n_greedy: how many nodes the greedy search knocks out together at most; below 2 there is
            none.

    Raises:
        GraphError: the circuit is of another graph than the experiment.
    """
    check_graph(experiment.graph, circuit)
    check_at_least("n_random", n_random, 1)
    ends = Ends.of(experiment)
    if not len(circuit) or not ends.defined:
        return CompletenessRecord(worst=None, random=None, nodes={}, n_random=0, n_sets=0)
    edges = {name: edges_of(circuit.graph, name) & circuit.mask for name in circuit.nodes}
    parts = [
        *_random(circuit, n_random, seed),
        *(_Part("nodes", (name,), mask) for name, mask in edges.items()),
    ]
    cuts = _cut(experiment, circuit, parts, bar)
    random, single = cuts[:n_random], cuts[n_random:]
    for n in range(2, n_greedy + 1):
        best = max((cut for cut in cuts if cut.part.nodes), key=lambda cut: _size(cut, ends))
        if len(best.part.nodes) < n - 1:
            break
        wider = [
            _Part("nodes", (*best.part.nodes, name), best.part.mask | mask)
            for name, mask in edges.items()
            if name not in best.part.nodes
        ]
        cuts += _cut(experiment, circuit, wider, bar)
    return CompletenessRecord(
        worst=_knockout(circuit, max(cuts, key=lambda cut: _size(cut, ends)), ends, seed),
        random=of_means(_incompleteness, _samples(random, ends), seed),
        nodes={cut.part.nodes[0]: _size(cut, ends) for cut in single},
        n_random=n_random,
        n_sets=len(cuts),
    )


def n_masks(circuit: Circuit, n_random: int = 20, n_greedy: int = 3) -> int:
    """How many masks `completeness` asks about, at most."""
    return 2 + 2 * (n_random + len(circuit.nodes) * max(1, n_greedy))


def _random(circuit: Circuit, n: int, seed: int) -> Iterator[_Part]:
    """At least one edge each, and of each size as many as of the others."""
    rng, kept = np.random.default_rng([seed, n, len(circuit)]), np.flatnonzero(circuit.mask)
    for i in range(n):
        mask = np.zeros(circuit.graph.n_edges, bool)
        mask[
            rng.choice(kept, max(1, round(SHARES[i % len(SHARES)] * len(kept))), replace=False)
        ] = True
        yield _Part("random", (), mask)


def _cut(experiment: Experiment, circuit: Circuit, parts: Sequence[_Part], bar: bool) -> list[_Cut]:
    masks = (mask for part in parts for mask in (circuit.mask & ~part.mask, ~part.mask))
    values = ask(experiment, masks, 2 * len(parts), what="completeness", bar=bar)
    return [_Cut(part, *values[2 * i : 2 * i + 2]) for i, part in enumerate(parts)]


def _size(cut: _Cut, ends: Ends) -> float:
    samples = _samples([cut], ends)
    return float(_incompleteness(samples.mean(axis=1, keepdims=True, dtype=np.float64))[0])


def _samples(cuts: Sequence[_Cut], ends: Ends) -> Float[np.ndarray, "n batch"]:
    return np.stack(
        [ends.empty, ends.full, *(cut.circuit for cut in cuts), *(cut.model for cut in cuts)]
    )


def _incompleteness(means: Float[np.ndarray, "n resamples"]) -> Float[np.ndarray, " resamples"]:
    """The mean over several K, from the means of `_samples`."""
    empty, full, *values = means
    in_circuit, in_model = np.split(np.stack(values), 2)
    return np.abs(share(in_circuit, empty, full) - share(in_model, empty, full)).mean(axis=0)


def _knockout(circuit: Circuit, cut: _Cut, ends: Ends, seed: int) -> Knockout:
    return Knockout(
        kind=cut.part.kind,
        nodes=list(cut.part.nodes),
        edges=[circuit.graph.edges[i] for i in np.flatnonzero(cut.part.mask)],
        circuit=mean_of(cut.circuit, seed),
        model=mean_of(cut.model, seed),
        incompleteness=of_means(_incompleteness, _samples([cut], ends), seed),
    )
