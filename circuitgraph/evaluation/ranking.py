"""One order of all edges, out of a search that decided on each of them at another moment."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

from circuitgraph.graph.circuit import Circuit


def ranking(circuit: Circuit) -> Float[np.ndarray, " edges"]:
    """Scores that order a circuit's edges: kept before removed before never tested.

    ACDC measures an edge's effect at the moment of its test, when other edges are gone already, so
    that effects of a kept and of a removed edge cannot be compared; the decisions can. Within the
    kept ones, and within the removed ones, edges are ordered by their effects. What was never
    tested (ACDC removes edges into dead nodes unseen) comes last, all alike, unless it was kept.

    Returns:
        From 2 to 3 for kept edges, from 1 to 2 for removed ones, 0 for the others; equal effects
        have equal scores. No score is negative, so that signed and absolute selection agree.
        Without effects, 2 where kept and else 0.
    """
    effects = np.zeros(len(circuit.mask)) if circuit.scores is None else circuit.scores
    known = circuit.scores is not None
    tested = np.full(len(circuit.mask), known) if circuit.tested is None else circuit.tested
    found = np.zeros(len(circuit.mask))
    for group, base in ((circuit.mask, 2.0), (tested & ~circuit.mask, 1.0)):
        found[group] = base + (stats.rankdata(effects[group], "dense") - 1) / max(1, group.sum())
    return found
