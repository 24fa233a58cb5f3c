"""Curves of knock-outs: heads taken out in an order, beside as many others drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.experiment import Experiment
from circuitgraph.evaluation.baselines import evaluate_masks
from circuitgraph.graph.graph import Graph

BAND = (0.05, 0.95)  # quantiles of the draws
Heads = Sequence[int]  # numbers of writers


@dataclass(frozen=True)
class Control:
    """As many other heads, drawn at random; None at a size for which there are not enough.

    Attributes:
        means: the mean metric of each draw, by size; the first is of one head.
    """

    means: Sequence[Float[np.ndarray, " draws"] | None]

    @property
    def bands(self) -> list[Interval | None]:
        """The mean of the draws and their 5 to 95 % band, by size."""
        return [None if draws is None else _make_band(draws) for draws in self.means]

    def find_exits(self, curve: Float[np.ndarray, " sizes"]) -> tuple[int | None, int | None]:
        """At which number of heads a curve leaves the band, and from which on it stays outside.

        None where it never does. ``curve`` begins with one head.
        """
        sizes = [k for k, band in enumerate(self.bands, 1) if band]
        outside = [k for k in sizes if self._is_outside(curve, k)]
        last_inside = max(set(sizes) - set(outside), default=0)
        return min(outside, default=None), next((k for k in outside if k > last_inside), None)

    def _is_outside(self, curve: Float[np.ndarray, " sizes"], k: int) -> bool:
        band = self.bands[k - 1]
        return band is not None and not band.low <= curve[k - 1] <= band.high

    def measure_distance(self, curve: Float[np.ndarray, " sizes"]) -> float | None:
        """The area between a curve and the draws' mean, over the sizes that have draws: the mean
        difference.
        """
        pairs = zip(curve, self.bands, strict=True)
        differences = [float(y) - band.mean for y, band in pairs if band]
        return float(np.mean(differences)) if differences else None


@dataclass(frozen=True)
class KnockOutCurve:
    """The metric with more and more heads knocked out.

    Attributes:
        values: of each prompt with no head out, then with the first 1, 2, ... (or all).
        random, by_layer: controls: any other heads, and other heads of the same layers.
    """

    values: Float[np.ndarray, "sizes batch"]
    random: Control
    by_layer: Control

    @property
    def means(self) -> Float[np.ndarray, " sizes"]:
        """The mean with the first 1, 2, ... heads out."""
        return self.values[1:].mean(axis=1, dtype=np.float64)


def mask_heads(graph: Graph, heads: Heads) -> Bool[np.ndarray, " edges"]:
    """All edges but those out of these heads."""
    return ~np.isin(graph.ends[1], list(heads))


def measure_singles(
    experiment: Experiment, heads: Heads, *, bar: bool = False
) -> Float[np.ndarray, " heads"]:
    """What knocking out each head alone does to the mean metric."""
    masks = (mask_heads(experiment.graph, out) for out in ([], *([head] for head in heads)))
    means = evaluate_masks(experiment, masks, 1 + len(heads), what="single heads", bar=bar).mean(
        axis=1, dtype=np.float64
    )
    return means[1:] - means[0]


def measure_curve(
    experiment: Experiment,
    order: Heads,
    *,
    draws: int,
    seed: int,
    steps: bool = True,
    bar: bool = False,
) -> KnockOutCurve:
    """Knock heads out in an order, and other heads beside them.

    Args:
        order: the heads, the first one first.
        draws: random sets of each size, for each control.
        steps: knock out 1, 2, ... of them; else only all of them.
    """
    graph, rng = experiment.graph, np.random.default_rng([seed, draws])
    sizes = range(1 if steps else len(order), len(order) + 1)
    controls = [
        [[draw(graph, order[:k], rng) for _ in range(draws)] for k in sizes]
        for draw in (draw_others, draw_others_by_layer)
    ]
    sets = [list(order[:k]) for k in (0, *sizes)]
    rivals = [out for control in controls for of_size in control for out in of_size if out]
    masks = (mask_heads(graph, out) for out in (*sets, *rivals))
    values = evaluate_masks(
        experiment, masks, len(sets) + len(rivals), what="knock-out curves", bar=bar
    )
    means = iter(values[len(sets) :].mean(axis=1, dtype=np.float64))
    random, by_layer = (
        Control([np.array([next(means) for _ in sets]) if all(sets) else None for sets in control])
        for control in controls
    )
    return KnockOutCurve(values[: len(sets)], random, by_layer)


def draw_others(graph: Graph, heads: Heads, rng: np.random.Generator) -> list[int]:
    """As many heads, none of these; none at all where there are not enough."""
    others = [i for i, w in enumerate(graph.writers) if w.kind == "head" and i not in heads]
    if len(others) < len(heads):
        return []
    return rng.choice(others, len(heads), replace=False).tolist()


def draw_others_by_layer(graph: Graph, heads: Heads, rng: np.random.Generator) -> list[int]:
    """As many heads of each layer, none of these; none at all where a layer has not enough."""
    chosen: list[int] = []
    for layer, n in Counter(graph.writers[head].node.layer for head in heads).items():
        others = [
            i
            for i, w in enumerate(graph.writers)
            if w.kind == "head" and w.node.layer == layer and i not in heads
        ]
        if len(others) < n:
            return []
        chosen += rng.choice(others, n, replace=False).tolist()
    return chosen


def _make_band(draws: Float[np.ndarray, " draws"]) -> Interval:
    low, high = np.quantile(draws, BAND)
    return Interval(mean=float(draws.mean()), low=float(low), high=float(high))
