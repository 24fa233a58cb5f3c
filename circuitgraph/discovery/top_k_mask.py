"""Learned masks of exactly k edges: a hard choice forward, a soft one backward."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.edge_pruning import select_highest
from circuitgraph.discovery.learned_masks import (
    LearnedMask,
    Variables,
    check_learning,
    check_positive,
    check_size,
)
from circuitgraph.discovery.ranks import check_scoring
from circuitgraph.errors import ArgumentError, check_at_least, check_finite
from circuitgraph.graph.space import SearchSpace


@algorithm("top-k-mask")
@dataclass(frozen=True)
class TopKMask(LearnedMask):
    """Masks of exactly k edges descend the loss: the k highest numbers have a mask of 1, the others
    0.

    Backwards the choice is ``sigmoid((log_alpha - t) / temperature)`` with t such that the sum
    stays k, t's own derivative included: what one edge gains, others lose (a straight-through
    estimator of a differentiable top-k). k falls from all edges to the wanted number, by an equal
    factor at each step of the warm-up.

    Attributes:
        share: share of the edges to keep.
        n_edges: number of edges to keep; replaces ``share``.
        temperature: of the soft choice; higher lets edges far from the boundary move.
        steps: optimiser steps.
        warmup: share of the steps in which k falls.
        learning_rate: of Adam.
        seed: of the order in which edges of equal score begin.
        start_scores: an algorithm whose scores the numbers begin with, by rank from 0 to 1.
    """

    share: float = 0.05
    n_edges: int | None = None
    temperature: float = 0.5
    steps: int = 500
    warmup: float = 0.5
    learning_rate: float = 0.05
    seed: int = 0
    start_scores: str | None = "eap-ig-inputs"

    def __post_init__(self) -> None:
        check_learning(self.steps, self.learning_rate, self.seed)
        check_positive("temperature", self.temperature)
        for name in ("share", "warmup"):
            if not 0 < check_finite(name, getattr(self, name)) <= 1:
                raise ArgumentError(
                    f"{name} is {getattr(self, name)}, but is a share: above 0, at most 1."
                )
        if self.n_edges is not None:
            check_at_least("n_edges", self.n_edges, 1)
        if self.start_scores is not None:
            check_scoring("start_scores", self.start_scores)

    def check_space(self, space: SearchSpace) -> None:
        super().check_space(space)
        check_size(self.n_edges or 0, space)

    def init_variables(self, n_edges: int) -> Variables:
        noise = jax.random.uniform(jax.random.key(self.seed), (n_edges,), jnp.float32)
        return {"log_alpha": noise}

    def place_ranks(self, ranks: Float[np.ndarray, " edges"]) -> Float[Array, " edges"]:
        return jnp.asarray(ranks, jnp.float32)

    def make_optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def make_mask(
        self, log_alpha: Float[Array, " edges"], step: Int[Array, ""]
    ) -> Float[Array, " edges"]:
        n = len(log_alpha)
        part = jnp.minimum(1.0, (step + 1) / (self.warmup * self.steps))
        k = jnp.round(n * (self._count_kept(n) / n) ** part)
        return choose_highest(log_alpha, k, self.temperature)

    def compute_objective(
        self,
        loss: Float[Array, ""],
        mask: Float[Array, " edges"],
        variables: Variables,
        step: Int[Array, ""],
    ) -> Float[Array, ""]:
        del mask, variables, step
        return loss

    def select_edges(self, log_alpha: Float[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        return select_highest(log_alpha, self._count_kept(len(log_alpha)))

    def _count_kept(self, n: int) -> int:
        return max(1, round(self.share * n)) if self.n_edges is None else self.n_edges


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def choose_highest(
    values: Float[Array, " n"], k: Float[Array, ""], temperature: float
) -> Float[Array, " n"]:
    """1 for the ``k`` highest values (of equal ones the first), 0 for the others.

    Differentiable in the values, as `TopKMask` says.
    """
    del temperature
    places = jnp.argsort(jnp.argsort(-values, stable=True))
    return (places < k).astype(values.dtype)


def _choose_forward(values: Array, k: Array, temperature: float) -> tuple[Array, Array]:
    n_halvings = 40  # of the interval in which the threshold lies
    low, high = values.min() - 20 * temperature, values.max() + 20 * temperature

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        too_many = jax.nn.sigmoid((values - middle) / temperature).sum() > k
        return jnp.where(too_many, middle, low), jnp.where(too_many, high, middle)

    threshold = jnp.mean(jnp.stack(jax.lax.fori_loop(0, n_halvings, halve, (low, high))))
    soft = jax.nn.sigmoid((values - threshold) / temperature)
    return choose_highest(values, k, temperature), soft * (1 - soft) / temperature


def _choose_backward(temperature: float, slopes: Array, gradient: Array) -> tuple[Array, None]:
    del temperature
    mean = (slopes * gradient).sum() / jnp.maximum(slopes.sum(), jnp.finfo(slopes.dtype).tiny)
    return slopes * (gradient - mean), None


choose_highest.defvjp(_choose_forward, _choose_backward)
