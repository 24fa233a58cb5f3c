"""Edge pruning: learn hard-concrete masks of all edges while a given share of edges is removed.

Bhaskar, Wettig, Friedman and Chen (2024), "Finding transformer circuits with edge pruning". The
share of removed edges is held to a target by a Lagrangian whose two multipliers ascend while the
masks descend; the target rises linearly from zero. In the end the masks are rounded at a threshold
found by bisection. Masks are of edges only: the authors' optional masks of nodes are left out, as
in their own runs on GPT-2. Every step sees all prompts.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery import hard_concrete
from circuitgraph.discovery.base import algorithm
from circuitgraph.discovery.learned_masks import (
    LearnedMask,
    Variables,
    check_learning,
    check_positive,
    check_size,
)
from circuitgraph.errors import ArgumentError, check_at_least, check_finite, unknown_name
from circuitgraph.graph.space import SearchSpace

ROUNDINGS = ("target", "mean")
_START, _SPREAD = 10.0, 0.01  # of log_alpha; at 10 nearly every sampled mask is exactly 1


@algorithm("edge-pruning")
@dataclass(frozen=True)
class EdgePruning(LearnedMask):
    """Hard-concrete masks descend the loss while a Lagrangian removes a given share of edges
    (Bhaskar et al. 2024).

    Where the target leaves fewer edges than the behaviour needs, the last path breaks, the loss's
    gradient dies with it, and which edges stay is arbitrary: compare several sparsities. The same
    happens in runs of few hundred steps.

    Attributes:
        sparsity: share of the edges to remove. With rounding ``mean`` it may exceed 1, as the
            authors' own runs do to force masks down that would settle in between.
        n_edges: number of edges to keep; replaces ``sparsity``.
        rounding: ``target`` keeps exactly as many edges as the target says; ``mean`` as many as the
            mean of the learned masks says, which is how the authors round.
        steps: optimiser steps, 3,000 in the authors' runs; a mask that starts at 1 takes its time
            to move.
        warmup: share of the steps in which the target rises.
        learning_rate: of the masks. It rises over a fifteenth of the steps, then falls to zero,
            both linearly.
        multiplier_rate: learning rate of the multipliers, on the same schedule.
        weight_decay: of AdamW, on masks and multipliers.
        seed: seed of the start and of the noise.
    """

    sparsity: float = 0.95
    n_edges: int | None = None
    rounding: str = "target"
    steps: int = 3000
    warmup: float = 5 / 6
    learning_rate: float = 0.8
    multiplier_rate: float = 0.8
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        check_learning(self.steps, self.learning_rate, self.seed)
        check_positive("multiplier_rate", self.multiplier_rate)
        if check_finite("weight_decay", self.weight_decay) < 0:
            raise ArgumentError(f"weight_decay is {self.weight_decay}, but must not be negative.")
        if not 0 < check_finite("warmup", self.warmup) <= 1:
            raise ArgumentError(
                f"warmup is {self.warmup}, but is a share of the steps: above 0, at most 1."
            )
        self._check_target()

    def _check_target(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise unknown_name("rounding", self.rounding, ROUNDINGS)
        if self.n_edges is not None:
            check_at_least("n_edges", self.n_edges, 1)
            if self.rounding != "target":
                raise ArgumentError(
                    f"n_edges is {self.n_edges}, an exact number: it goes with rounding 'target' "
                    "only."
                )
        most = 1 if self.rounding == "target" else 2
        if not 0 < check_finite("sparsity", self.sparsity) < most:
            raise ArgumentError(
                f"sparsity is {self.sparsity}, but is the share of edges to remove: above 0 and "
                f"below {most}. Targets of 1 and more, which force masks down, go with rounding "
                "'mean'."
            )

    def check_space(self, space: SearchSpace) -> None:
        super().check_space(space)
        check_size(self.n_edges or 0, space)

    def init_variables(self, n_edges: int) -> Variables:
        noise = jax.random.normal(
            jax.random.fold_in(jax.random.key(self.seed), self.steps), (n_edges,), jnp.float32
        )
        return {"log_alpha": _START + _SPREAD * noise, "multipliers": jnp.zeros(2, jnp.float32)}

    def make_optimiser(self) -> optax.GradientTransformation:
        def make_descent(rate: float) -> optax.GradientTransformation:
            rise = self.steps // 15
            schedule = optax.join_schedules(
                [
                    optax.linear_schedule(0.0, rate, rise),
                    optax.linear_schedule(rate, 0.0, self.steps - rise),
                ],
                [rise],
            )
            return optax.adamw(schedule, weight_decay=self.weight_decay)

        ascent = optax.chain(optax.scale(-1.0), make_descent(self.multiplier_rate))
        parts: dict[Hashable, optax.GradientTransformation] = {
            "log_alpha": make_descent(self.learning_rate),
            "multipliers": ascent,
        }
        return optax.partition(parts, {name: name for name in parts})

    def make_mask(
        self, log_alpha: Float[Array, " edges"], step: Int[Array, ""]
    ) -> Float[Array, " edges"]:
        return hard_concrete.sample_mask(
            log_alpha, hard_concrete.draw_uniforms(self.seed, step, len(log_alpha))
        )

    def compute_objective(
        self,
        loss: Float[Array, ""],
        mask: Float[Array, " edges"],
        variables: Variables,
        step: Int[Array, ""],
    ) -> Float[Array, ""]:
        warmed_up = jnp.minimum(1.0, step / (self.warmup * self.steps))
        target = self._target_share(len(mask)) * warmed_up
        gap = 1 - mask.mean() - target
        linear, quadratic = variables["multipliers"]
        return loss + linear * gap + quadratic * gap**2

    def _target_share(self, n_edges: int) -> float:
        """The share of edges to remove."""
        return self.sparsity if self.n_edges is None else 1 - self.n_edges / n_edges

    def select_edges(self, log_alpha: Float[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        masks = np.asarray(hard_concrete.make_final_mask(jnp.asarray(log_alpha)), np.float64)
        share = masks.mean() if self.rounding == "mean" else 1 - self._target_share(len(masks))
        return select_highest(log_alpha, round(share * len(masks)))


def select_highest(values: Float[np.ndarray, " n"], n: int) -> Bool[np.ndarray, " n"]:
    """The ``n`` highest values, by bisection of the threshold; of equal values the first ones.

    Bisecting ``log_alpha`` and not the mask tells masks apart that ended at exactly 0 or 1.
    """
    # At every turn n or more values are above low (at first all), n or fewer above high (none).
    low, high = np.float64(values.min()) - 1, np.float64(values.max())
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if (values > middle).sum() >= n else (low, middle)
    above = values > high
    tied = np.flatnonzero((values > low) & ~above)
    above[tied[: n - int(above.sum())]] = True
    return above
