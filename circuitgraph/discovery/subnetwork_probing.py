"""Subnetwork probing on edges: learn masks that keep the loss low and pay for each edge they keep.

Cao, Sanh and Rush (2021), "Low-complexity probing via finding subnetworks", mask weights; Conmy et
al. (2023, appendix D) mask nodes; here each edge has a mask, as in Miller et al. (2024,
auto-circuit). The price is ``regularisation`` times the mean probability that an edge's mask is not
zero. Every step sees all prompts.
"""

from __future__ import annotations

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
    MaskState,
    Variables,
    check_learning,
    check_size,
)
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, check_at_least, check_finite, unknown_name

MASKS = ("hard-concrete", "sigmoid")
_START = 0.9  # value of every mask before the first step


@algorithm("subnetwork-probing")
@dataclass(frozen=True)
class SubnetworkProbing(LearnedMask):
    """Masks of all edges descend the loss plus a price for every edge kept (Cao et al. 2021).

    Attributes:
        regularisation: price of keeping all edges, in the unit of the metric; lambda in the papers.
            The higher the price, the fewer edges stay; where it outweighs all that the metric can
            lose, no edge stays.
        n_edges: number of edges to keep, those of the highest masks. By default all edges with a
            mask above 1/2.
        masks: ``hard-concrete``, drawn anew at each step, or plain ``sigmoid``, whose price is the
            mean mask.
        steps: optimiser steps.
        learning_rate: learning rate of Adam.
        seed: seed of the noise.
    """

    regularisation: float = 1.0
    n_edges: int | None = None
    masks: str = "hard-concrete"
    steps: int = 1000
    learning_rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_learning(self.steps, self.learning_rate, self.seed)
        if check_finite("regularisation", self.regularisation) < 0:
            raise ArgumentError(
                f"regularisation is {self.regularisation}, but is a price: it must not be negative."
            )
        if self.n_edges is not None:
            check_at_least("n_edges", self.n_edges, 1)
        if self.masks not in MASKS:
            raise unknown_name("kind of masks", self.masks, MASKS)

    def init_state(self, experiment: Experiment) -> MaskState:
        check_size(self.n_edges or 0, experiment)
        return super().init_state(experiment)

    def init_variables(self, n_edges: int) -> Variables:
        hard = hard_concrete.find_log_alpha(_START)
        value = hard if self.masks == "hard-concrete" else float(np.log(_START / (1 - _START)))
        return {"log_alpha": jnp.full(n_edges, value, jnp.float32)}

    def make_optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def make_mask(
        self, log_alpha: Float[Array, " edges"], step: Int[Array, ""]
    ) -> Float[Array, " edges"]:
        if self.masks == "sigmoid":
            return jax.nn.sigmoid(log_alpha)
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
        if self.masks == "sigmoid":
            kept = mask
        else:
            kept = hard_concrete.compute_expected_l0(variables["log_alpha"])
        return loss + self.regularisation * kept.mean()

    def select_edges(self, log_alpha: Float[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        if self.n_edges is None:
            return log_alpha > 0
        ranked = np.argsort(-log_alpha, kind="stable")
        kept = np.zeros(len(log_alpha), bool)
        kept[ranked[: self.n_edges]] = True
        return kept
