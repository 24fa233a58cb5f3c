"""Subnetwork probing on edges: learn masks that keep the loss low and pay for each edge they keep.

Cao, Sanh and Rush (2021), "Low-complexity probing via finding subnetworks", mask weights; Conmy et
al. (2023, appendix D) mask nodes; here each edge has a mask, as in Miller et al. (2024,
auto-circuit). The price is ``regularisation`` times the mean probability that an edge's mask is not
zero. Every step sees all prompts.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

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
from circuitgraph.errors import (
    ArgumentError,
    SearchError,
    check_at_least,
    check_finite,
    unknown_name,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.space import SearchSpace

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
        n_edges: number of edges to keep at most: of the highest masks as many as leave no more
            edges than this on paths from the embedding to the logits. By default all edges with a
            mask above 1/2. The masks of these need one another, and their order says little of
            which of them do without the others: for a smaller circuit raise ``regularisation``.
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

    def check_space(self, space: SearchSpace) -> None:
        super().check_space(space)
        check_size(self.n_edges or 0, space)

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
        return log_alpha > 0

    def make_circuit(self, experiment: Experiment, state: MaskState) -> Circuit:
        """The circuit of the masks.

        Raises:
            SearchError: the highest masks connect embedding and logits by more than ``n_edges``.
        """
        circuit = super().make_circuit(experiment, state)
        return circuit if self.n_edges is None else _select_connected(circuit, self.n_edges)


def _select_connected(circuit: Circuit, n_edges: int) -> Circuit:
    """Of the highest masks as many as leave at most ``n_edges`` on paths; the edges on paths."""
    assert circuit.scores is not None  # noqa: S101 - the masks' log_alpha
    tested = np.ones(len(circuit.mask), bool) if circuit.tested is None else circuit.tested
    log_alpha, n_masks = np.where(tested, circuit.scores, -np.inf), int(tested.sum())

    def take_highest(n: int) -> Circuit:
        return Circuit.top(circuit.graph, log_alpha, n, absolute=False).pruned()

    # One more mask never takes an edge off its path: the sizes only grow.
    n_too_many = bisect_right(range(n_masks + 1), n_edges, key=lambda n: len(take_highest(n)))
    connected = take_highest(n_too_many - 1)
    if not len(connected):
        n_least = len(take_highest(min(n_too_many, n_masks)))
        raise SearchError(
            f"n_edges is {n_edges}, but the fewest of the highest masks that connect embedding and "
            f"logits are {n_least} edges. Use n_edges of at least this, or a higher regularisation."
            if n_least
            else "Not even all edges of the search space connect embedding and logits."
        )
    return replace(circuit, mask=connected.mask)
