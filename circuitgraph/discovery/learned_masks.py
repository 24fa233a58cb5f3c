"""What searches that learn a mask by gradient descent share: the loop, its randomness, snapshots,
refusals.

Each edge has one number, ``log_alpha``. A step draws a mask from it, asks the experiment for the
loss and its
derivative by that mask, adds the search's own penalty for keeping edges, and lets the optimiser
move the numbers.
"""

from __future__ import annotations

import base64
import binascii
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.discovery.base import Algorithm, Entry
from circuitgraph.discovery.scoring import check_gradient
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.descent import Variables, run_descent_step, run_mask
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, SearchError, check_at_least, check_finite
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.tasks.metrics import Metric, metrics

SNAPSHOT = 50  # steps between two snapshots of a journal: what a resumed run repeats at most
GRADIENT_COST = 5  # a step's pass forward and back, in evaluations of a mask


@dataclass(frozen=True)
class MaskState:
    """What an unfinished search knows.

    Attributes:
        taken: optimiser steps so far.
        variables: what is learned: ``log_alpha`` of each edge, and what the search learns beside
            it.
        moments: what the optimiser carries, in the order of its pytree's leaves.
    """

    taken: int
    variables: dict[str, np.ndarray]
    moments: tuple[np.ndarray, ...]


class LearnedMask(Algorithm[MaskState]):
    """A search that learns how much of each edge to keep.

    The circuit's scores are the edges' ``log_alpha``: they rank the edges even where masks ended at
    exactly 0 or 1.
    """

    unit: ClassVar[str] = "step"
    score: ClassVar[str] = (
        "the mask's log_alpha: above 0 where the mask ended above 1/2; without unit"
    )
    steps: int
    seed: int

    # What a search says

    @abstractmethod
    def start(self, n_edges: int) -> Variables:
        """The variables before the first step; ``log_alpha`` among them."""

    @abstractmethod
    def optimiser(self) -> optax.GradientTransformation:
        """How gradients move the variables."""

    @abstractmethod
    def mask(
        self, log_alpha: Float[Array, " edges"], step: Int[Array, ""]
    ) -> Float[Array, " edges"]:
        """The mask that a step asks about, between 0 and 1; differentiable."""

    @abstractmethod
    def objective(
        self,
        loss: Float[Array, ""],
        mask: Float[Array, " edges"],
        variables: Variables,
        step: Int[Array, ""],
    ) -> Float[Array, ""]:
        """What is minimised: the loss and what is paid for the edges that the mask keeps."""

    @abstractmethod
    def kept(self, log_alpha: Float[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        """The edges of the circuit, from what was learned."""

    # What they share

    def check(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        others = ", ".join(name for name in metrics.names() if metrics[name].differentiable)
        check_gradient(self.name, metric, f"Use one of: {others}.")

    def init(self, experiment: Experiment) -> MaskState:
        start = self.start(experiment.graph.n_edges)
        return _state(0, start, self.optimiser().init(start))

    def step(self, experiment: Experiment, state: MaskState) -> MaskState:
        step, variables = (
            jnp.int32(state.taken),
            {name: jnp.asarray(v) for name, v in state.variables.items()},
        )
        loss, gradient = experiment.loss_and_gradient(np.asarray(run_mask(self, variables, step)))
        moments = tuple(jnp.asarray(values) for values in state.moments)
        measured = jnp.float32(loss), jnp.asarray(gradient, jnp.float32)
        moved = run_descent_step(self, variables, moments, *measured, step)
        after = _state(state.taken + 1, *moved)
        if not np.isfinite(after.variables["log_alpha"]).all():
            raise SearchError(
                f"The masks diverged at step {after.taken}. Use a lower learning rate."
            )
        return after

    def progress(self, state: MaskState) -> tuple[int, int]:
        return state.taken, self.steps

    def circuit(self, experiment: Experiment, state: MaskState) -> Circuit:
        log_alpha = state.variables["log_alpha"]
        kept = self.kept(log_alpha)
        return Circuit(
            experiment.graph, kept, log_alpha.astype(np.float64), np.ones(len(kept), bool)
        )

    def entries(self, experiment: Experiment, before: MaskState, after: MaskState) -> list[Entry]:
        """A snapshot of the whole state at every 50th step and the last; nothing in between."""
        if after.taken % SNAPSHOT and after.taken != self.steps:
            return []
        arrays = {name: _packed(values) for name, values in after.variables.items()}
        return [
            {
                "taken": after.taken,
                "variables": arrays,
                "moments": [_packed(values) for values in after.moments],
            }
        ]

    def resumed(
        self, experiment: Experiment, start: MaskState, entries: Sequence[Entry]
    ) -> MaskState:
        """The state of the last snapshot; what came later is computed again, to the same bits."""
        if not entries:
            return start
        last = entries[-1]
        try:
            variables = {
                name: _unpacked(last["variables"][name], like)
                for name, like in start.variables.items()
            }
            moments = [
                _unpacked(values, like)
                for values, like in zip(last["moments"], start.moments, strict=True)
            ]
            return MaskState(int(last["taken"]), variables, tuple(moments))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DataError(
                f"The journal's last entry holds no state of {self.name!r}: {error!r}."
            ) from error

    def evaluations(self, graph: Graph) -> int:
        """The cost of all steps in evaluations of a mask; it does not depend on the number of
        edges.
        """
        return GRADIENT_COST * self.steps


def check_learning(steps: int, learning_rate: float, seed: int) -> None:
    """Refuse settings of the descent that make no sense."""
    check_at_least("steps", steps, 1)
    check_positive("learning_rate", learning_rate)
    check_at_least("seed", seed, 0)


def check_positive(name: str, value: float) -> None:
    """Raise `ArgumentError` unless ``value`` is a finite number above zero."""
    if check_finite(name, value) <= 0:
        raise ArgumentError(f"{name} is {value}, but must be above 0.")


def check_size(n_edges: int, graph_size: int) -> None:
    """Raise `ArgumentError` if more edges shall be kept than there are."""
    if n_edges > graph_size:
        raise ArgumentError(f"n_edges is {n_edges}, but the graph has only {graph_size} edges.")


def _state(taken: int, variables: Variables, optimiser: Any) -> MaskState:
    arrays = {name: np.asarray(values) for name, values in variables.items()}
    return MaskState(taken, arrays, tuple(np.asarray(leaf) for leaf in jax.tree.leaves(optimiser)))


def _packed(values: np.ndarray) -> str:
    """The bytes of an array, little-endian, in base64."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def _unpacked(packed: str, like: np.ndarray) -> np.ndarray:
    """The array of the type and shape of ``like`` that `_packed` made this of."""
    values = np.frombuffer(base64.b64decode(packed, validate=True), like.dtype.newbyteorder("<"))
    return values.reshape(like.shape).astype(like.dtype)
