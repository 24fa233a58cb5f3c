"""Weights of one head, of one map's hidden units, and of the two ends. All by hand, none trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from circuitgraph.models.constructed.language import (
    Aggregate,
    Expression,
    Linear,
    Map,
    Map2,
    NumericalMap,
    Share,
)
from circuitgraph.models.constructed.layout import Layout
from circuitgraph.models.constructed.values import image, matches

COLD: Final = (
    100.0  # score of a match; what is not matched has a share of at most exp(-COLD / 2), 2e-22
)
MARGIN: Final = 10.0  # nats by which the right answer is more likely than any other
_STEEP: Final = 3.0  # a step takes up the middle third of the gap between two values, so rounding does not matter
_BOS: Final = 0  # the direction that marks the beginning of the sequence


@dataclass(frozen=True)
class Head:
    """Weights of one head, as `Attention` has them, before padding."""

    w_q: Float[np.ndarray, "d_head d"]
    b_q: Float[np.ndarray, " d_head"]
    w_k: Float[np.ndarray, "d_head d"]
    w_v: Float[np.ndarray, "d_head d"]
    w_o: Float[np.ndarray, "d d_head"]


@dataclass(frozen=True)
class Unit:
    """A hidden unit: relu(sum of ``reads`` x directions + ``bias``), written to directions times
    ``writes``.
    """

    reads: dict[int, float]
    bias: float
    writes: dict[int, float]


def head(e: Aggregate | Share, layout: Layout) -> Head:
    """A head whose scores are `COLD` for a match, and at the beginning half of that.

    So it looks at the beginning, where all values are zero, if nothing matches. To count what
    matches it looks there always, and reads where it is.
    """
    select, domains = e.select, layout.domains
    queries, keys = layout.directions[select.queries], layout.directions[select.keys]
    values = range(1) if isinstance(e, Share) else layout.directions[e.values]
    d_head = max(len(queries) + 1, len(values))
    w_q, w_k, w_v = (np.zeros((d_head, layout.d_model), np.float32) for _ in range(3))
    w_o, b_q = np.zeros((layout.d_model, d_head), np.float32), np.zeros(d_head, np.float32)
    matched = matches(layout.program, e, select, domains)
    for i, query in enumerate(domains[select.queries].values):
        w_q[i, queries[i]] = 1.0
        for j, key in enumerate(domains[select.keys].values):
            w_k[i, keys[j]] = COLD * ((key, query) in matched)
    b_q[len(queries)] = 1.0
    w_k[len(queries), _BOS] = COLD if isinstance(e, Share) else COLD / 2
    for i, (source, target) in enumerate(zip(values, layout.directions[e], strict=True)):
        w_v[i, source] = w_o[target, i] = 1.0
    return Head(w_q, b_q, w_k, w_v, w_o)


def units(e: Expression, layout: Layout) -> Iterator[Unit]:
    """The hidden units of one expression."""
    place, domains = layout.directions, layout.domains
    match e:
        case Map(_, x):
            for (value,), outcome in image(layout.program, e, domains).items():
                yield Unit(
                    {place[x][domains[x].values.index(value)]: 1.0},
                    0.0,
                    _written(e, outcome, layout),
                )
        case Map2(_, x, y):
            for (value, other), outcome in image(layout.program, e, domains).items():
                first, second = domains[x].values.index(value), domains[y].values.index(other)
                reads = {place[x][first]: 1.0}
                reads[place[y][second]] = (
                    reads.get(place[y][second], 0.0) + 1.0
                )  # one direction, if x is y
                yield Unit(reads, -1.0, _written(e, outcome, layout))
        case NumericalMap(_, x):
            yield from _steps(e, place[x][0], image(layout.program, e, domains), layout)
        case Linear(a, x, b, y):
            for factor, source in ((a, x), (b, y)):
                for sign in (1.0, -1.0):
                    yield Unit({place[source][0]: sign}, 0.0, {place[e][0]: sign * float(factor)})


def _steps(
    e: Expression, source: int, table: dict[tuple[Any, ...], Any], layout: Layout
) -> Iterator[Unit]:
    """The value at the least x, and for every gap a step of one unit's difference to the next
    value.
    """
    xs = sorted(x for (x,) in table)
    written = [_written(e, table[x,], layout) for x in xs]
    yield Unit({_BOS: -1.0}, 1.0, written[0])
    for (low, high), (before, after) in zip(pairwise(xs), pairwise(written), strict=True):
        change = {d: after.get(d, 0.0) - before.get(d, 0.0) for d in before | after}
        if not any(change.values()):
            continue
        slope = _STEEP / float(high - low)
        middle = float(low + high) / 2
        far = (
            slope * max(abs(float(xs[-1])), abs(float(xs[0])), 1.0) * 2 + 1
        )  # enough to silence it at the beginning
        for up, sign in ((0.5, 1.0), (-0.5, -1.0)):
            writes = {d: sign * value for d, value in change.items()}
            yield Unit({source: slope, _BOS: -2 * far}, up - slope * middle, writes)


def _written(e: Expression, outcome: Any, layout: Layout) -> dict[int, float]:
    """A value as directions of the stream."""
    place = layout.directions[e]
    if e.kind == "numerical":
        return {place[0]: float(outcome)}
    return {place[layout.domains[e].values.index(outcome)]: 1.0}


def unembedding(
    e: Expression, layout: Layout, columns: dict[Any, int], none: int | None, n_vocab: int
) -> tuple[Float[np.ndarray, "vocab d"], Float[np.ndarray, " vocab"]]:
    """Logits of the output's values, at least `MARGIN` apart; tokens that are no value lie as far
    below.

    A numerical x becomes c (2 v x - v^2) for each value v, which is highest at the nearest.

    Args:
        columns: token of each value; ``none``: that of no value, if there can be none.
    """
    w, b = np.zeros((n_vocab, layout.d_model), np.float32), np.full(n_vocab, -MARGIN, np.float32)
    place, values = layout.directions[e], layout.domains[e].values
    if e.kind == "numerical":
        gap = min((high - low for low, high in pairwise(values)), default=Fraction(1))
        for value in values:
            c = MARGIN / float(gap) ** 2
            w[columns[value], place[0]], b[columns[value]] = (
                2 * c * float(value),
                -c * float(value) ** 2,
            )
        return w, b
    for direction, value in zip(place, values, strict=True):
        w[columns[value], direction], b[columns[value]] = (
            MARGIN if none is None else 2 * MARGIN,
            0.0,
        )
    if none is not None:
        b[none] = MARGIN
    return w, b
