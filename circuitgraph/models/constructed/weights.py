"""Weights of one head, of one map's hidden units and of the unembedding: none is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from circuitgraph.models.constructed.layout import Layout
from circuitgraph.models.constructed.rasp import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Share,
)
from circuitgraph.models.constructed.values import find_matches, tabulate_map

MATCH_SCORE: Final = 100.0
"""The attention score of a match.

The pattern on a position that does not match is at most exp(-MATCH_SCORE / 2), 2e-22.
"""

MARGIN: Final = 10.0
"""How many nats the right answer is more likely than any other."""

# A step of a numerical map takes up the middle third of the gap between two values, so that
# rounding of the values does not matter.
_STEEPNESS: Final = 3.0
_BOS_DIRECTION: Final = 0  # the direction that marks the beginning of the sequence


@dataclass(frozen=True)
class HeadWeights:
    """Weights of one head, as `Attention` has them, before padding."""

    w_q: Float[np.ndarray, "d_head d"]
    b_q: Float[np.ndarray, " d_head"]
    w_k: Float[np.ndarray, "d_head d"]
    w_v: Float[np.ndarray, "d_head d"]
    w_o: Float[np.ndarray, "d d_head"]


@dataclass(frozen=True)
class HiddenUnit:
    """A hidden unit of an MLP: relu(sum of ``reads`` x directions + ``bias``), times ``writes``.

    Attributes:
        reads: weight of each direction that the unit reads.
        writes: weight of each direction that the unit writes.
    """

    reads: dict[int, float]
    bias: float
    writes: dict[int, float]


def make_head(e: Aggregate | Share, layout: Layout) -> HeadWeights:
    """A head whose scores are `MATCH_SCORE` for a match, and half of that at the beginning.

    So the head looks at the beginning, where all values are zero, if no position matches. A head
    that counts matches always looks at the beginning too, and reads there where it is.
    """
    select, domains = e.select, layout.domains
    queries, keys = layout.directions[select.queries], layout.directions[select.keys]
    values = range(1) if isinstance(e, Share) else layout.directions[e.values]
    d_head = max(len(queries) + 1, len(values))  # one dimension more, for the beginning
    w_q, w_k, w_v = (np.zeros((d_head, layout.d_model), np.float32) for _ in range(3))
    w_o, b_q = np.zeros((layout.d_model, d_head), np.float32), np.zeros(d_head, np.float32)
    matches = find_matches(layout.program, e, select, domains)
    for i, query in enumerate(domains[select.queries].values):
        w_q[i, queries[i]] = 1.0
        for j, key in enumerate(domains[select.keys].values):
            w_k[i, keys[j]] = MATCH_SCORE * ((key, query) in matches)
    b_q[len(queries)] = 1.0
    w_k[len(queries), _BOS_DIRECTION] = MATCH_SCORE if isinstance(e, Share) else MATCH_SCORE / 2
    for i, (source, target) in enumerate(zip(values, layout.directions[e], strict=True)):
        w_v[i, source] = w_o[target, i] = 1.0
    return HeadWeights(w_q, b_q, w_k, w_v, w_o)


def make_units(e: Expression, layout: Layout) -> Iterator[HiddenUnit]:
    """The hidden units of one expression."""
    directions, domains = layout.directions, layout.domains
    match e:
        case Map(_, x):
            for (value,), outcome in tabulate_map(layout.program, e, domains).items():
                direction = directions[x][domains[x].values.index(value)]
                yield HiddenUnit({direction: 1.0}, 0.0, _write_value(e, outcome, layout))
        case Map2(_, x, y):
            for (value, other), outcome in tabulate_map(layout.program, e, domains).items():
                first = directions[x][domains[x].values.index(value)]
                second = directions[y][domains[y].values.index(other)]
                reads = {first: 1.0}
                reads[second] = reads.get(second, 0.0) + 1.0  # one direction, if x is y
                yield HiddenUnit(reads, -1.0, _write_value(e, outcome, layout))
        case NumericalMap(_, x):
            table = tabulate_map(layout.program, e, domains)
            yield from _make_steps(e, directions[x][0], table, layout)
        case Linear(a, x, b, y):
            target = directions[e][0]
            for factor, source in ((a, x), (b, y)):
                for sign in (1.0, -1.0):  # relu(x) - relu(-x) is x
                    reads = {directions[source][0]: sign}
                    yield HiddenUnit(reads, 0.0, {target: sign * float(factor)})


def _make_steps(
    e: Expression, source: int, table: dict[tuple[Any, ...], Any], layout: Layout
) -> Iterator[HiddenUnit]:
    """One unit for the value at the least x, and two units for each gap between two x.

    The two units of a gap are a step: they add the difference to the next value.
    """
    xs = sorted(x for (x,) in table)
    writes_at = [_write_value(e, table[x,], layout) for x in xs]
    yield HiddenUnit({_BOS_DIRECTION: -1.0}, 1.0, writes_at[0])
    for (low, high), (before, after) in zip(pairwise(xs), pairwise(writes_at), strict=True):
        change = {d: after.get(d, 0.0) - before.get(d, 0.0) for d in before | after}
        if not any(change.values()):
            continue
        slope = _STEEPNESS / float(high - low)
        middle = float(low + high) / 2
        # Enough to silence the step at the beginning of the sequence.
        silence = slope * max(abs(float(xs[-1])), abs(float(xs[0])), 1.0) * 2 + 1
        for up, sign in ((0.5, 1.0), (-0.5, -1.0)):
            writes = {d: sign * value for d, value in change.items()}
            reads = {source: slope, _BOS_DIRECTION: -2 * silence}
            yield HiddenUnit(reads, up - slope * middle, writes)


def _write_value(e: Expression, value: Any, layout: Layout) -> dict[int, float]:
    """A value as directions of the residual stream."""
    directions = layout.directions[e]
    if e.kind == "numerical":
        return {directions[0]: float(value)}
    return {directions[layout.domains[e].values.index(value)]: 1.0}


def make_unembedding(
    e: Expression, layout: Layout, columns: dict[Any, int], none: int | None, n_vocab: int
) -> tuple[Float[np.ndarray, "vocab d"], Float[np.ndarray, " vocab"]]:
    """Logits of the output's values, at least `MARGIN` apart.

    Tokens that are no value lie `MARGIN` below. A numerical x becomes c (2 v x - v^2) for each
    value v, which is highest at the nearest value.

    Args:
        columns: token of each value.
        none: token of `NOTHING`, if the output can be `NOTHING`.
    """
    w, b = np.zeros((n_vocab, layout.d_model), np.float32), np.full(n_vocab, -MARGIN, np.float32)
    directions, values = layout.directions[e], layout.domains[e].values
    if e.kind == "numerical":
        gap = min((high - low for low, high in pairwise(values)), default=Fraction(1))
        c = MARGIN / float(gap) ** 2
        for value in values:
            w[columns[value], directions[0]] = 2 * c * float(value)
            b[columns[value]] = -c * float(value) ** 2
        return w, b
    for direction, value in zip(directions, values, strict=True):
        w[columns[value], direction] = MARGIN if none is None else 2 * MARGIN
        b[columns[value]] = 0.0
    if none is not None:
        b[none] = MARGIN
    return w, b
