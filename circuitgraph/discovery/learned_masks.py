"""What searches that learn a mask by gradient descent share: steps, snapshots, refusals.

Each edge has one number, ``log_alpha``. A step draws a mask from ``log_alpha``, asks the experiment
for the loss and its derivative by that mask, adds the search's own penalty for keeping edges, and
lets the optimiser move the numbers.
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

from circuitgraph.discovery.base import MOST_STEPS, Algorithm, Entry
from circuitgraph.discovery.scoring import check_gradient
from circuitgraph.engine.ablation import Ablation
from circuitgraph.engine.descent import Variables, run_descent_step, run_mask
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import (
    ArgumentError,
    DataError,
    SearchError,
    check_at_least,
    check_between,
    check_finite,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.tasks.metrics import Metric, metrics

# By what share of its way a descent may end elsewhere: on some devices sums differ each time.
_DRIFT = 0.05
SNAPSHOT = 50  # steps between two snapshots of a journal: a resumed run repeats fewer than these
GRADIENT_COST = 5  # of a step's pass forward and back, in evaluations of a mask


@dataclass(frozen=True)
class MaskState:
    """What an unfinished search knows.

    Attributes:
        n_steps: optimiser steps so far.
        variables: ``log_alpha`` of each edge, and what else the search learns.
        moments: what the optimiser carries, in the order of its pytree's leaves.
    """

    n_steps: int
    variables: dict[str, np.ndarray]
    moments: tuple[np.ndarray, ...]


class LearnedMask(Algorithm[MaskState]):
    """A search that learns how much of each edge to keep.

    The circuit's scores are the edges' ``log_alpha``: they rank the edges even where masks ended at
    exactly 0 or 1. Only edges that the search space leaves free have a ``log_alpha``; settings that
    are shares are shares of these. Where a start is given, masks of other edges begin at 1/2.
    """

    takes_space: ClassVar[bool] = True
    has_start: ClassVar[bool] = True
    unit: ClassVar[str] = "step"
    n_rechecks: ClassVar[int] = 0  # the last snapshot alone takes many steps
    score: ClassVar[str] = (
        "the mask's log_alpha: above 0 where the mask ended above 1/2; without unit"
    )
    steps: int
    seed: int

    # What each search defines

    @abstractmethod
    def init_variables(self, n_edges: int) -> Variables:
        """The variables before the first step; ``log_alpha`` among them."""

    @abstractmethod
    def make_optimiser(self) -> optax.GradientTransformation:
        """How gradients move the variables."""

    @abstractmethod
    def make_mask(
        self, log_alpha: Float[Array, " edges"], step: Int[Array, ""]
    ) -> Float[Array, " edges"]:
        """The mask of a step, between 0 and 1; differentiable."""

    @abstractmethod
    def compute_objective(
        self,
        loss: Float[Array, ""],
        mask: Float[Array, " edges"],
        variables: Variables,
        step: Int[Array, ""],
    ) -> Float[Array, ""]:
        """What is minimised: the loss and the price of the edges that the mask keeps."""

    @abstractmethod
    def select_edges(self, log_alpha: Float[np.ndarray, " edges"]) -> Bool[np.ndarray, " edges"]:
        """The edges of the circuit, from the learned ``log_alpha``."""

    # What all searches share

    def check_metric(self, metric: Metric, ablation: Ablation) -> None:
        del ablation
        others = ", ".join(name for name in metrics.names() if metrics[name].differentiable)
        check_gradient(self.name, metric, f"Use one of: {others}.")

    def init_state(self, experiment: Experiment) -> MaskState:
        space = experiment.space
        variables = self.init_variables(int(space.free.sum()))
        if space.has_start:
            started, values = space.start[space.free], variables["log_alpha"]
            variables = {**variables, "log_alpha": jnp.where(started, values, 0.0)}
        return _make_state(0, variables, self.make_optimiser().init(variables))

    def take_step(self, experiment: Experiment, state: MaskState) -> MaskState:
        step = jnp.int32(state.n_steps)
        variables = {name: jnp.asarray(values) for name, values in state.variables.items()}
        moments = tuple(jnp.asarray(values) for values in state.moments)
        mask = np.asarray(run_mask(self, variables, step))
        free = experiment.space.free
        loss, gradient = experiment.loss_and_gradient(_fill_mask(experiment, mask))
        variables, optimiser = run_descent_step(
            self,
            variables,
            moments,
            jnp.float32(loss),
            jnp.asarray(gradient[free], jnp.float32),
            step,
        )
        after = _make_state(state.n_steps + 1, variables, optimiser)
        if not np.isfinite(after.variables["log_alpha"]).all():
            raise SearchError(
                f"The masks diverged at step {after.n_steps}. Use a lower learning rate."
            )
        return after

    def count_progress(self, state: MaskState) -> tuple[int, int]:
        return state.n_steps, self.steps

    def make_circuit(self, experiment: Experiment, state: MaskState) -> Circuit:
        log_alpha, free = state.variables["log_alpha"], experiment.space.free
        kept = experiment.space.protected.copy()
        kept[free] = self.select_edges(log_alpha)
        scores = np.zeros(len(kept))
        scores[free] = log_alpha
        return Circuit(experiment.graph, kept, scores, free.copy())

    def make_entries(
        self, experiment: Experiment, before: MaskState, after: MaskState
    ) -> list[Entry]:
        """A snapshot of the whole state at every 50th step and the last; nothing in between."""
        if after.n_steps % SNAPSHOT and after.n_steps != self.steps:
            return []
        return [
            {
                "taken": after.n_steps,
                "variables": {name: _pack_array(array) for name, array in after.variables.items()},
                "moments": [_pack_array(array) for array in after.moments],
            }
        ]

    def resume_state(
        self, experiment: Experiment, start: MaskState, entries: Sequence[Entry]
    ) -> MaskState:
        """The state of the last snapshot; later steps are computed again, to the same bits."""
        if not entries:
            return start
        last = entries[-1]
        try:
            variables = {
                name: _unpack_array(last["variables"][name], like)
                for name, like in start.variables.items()
            }
            moments = [
                _unpack_array(values, like)
                for values, like in zip(last["moments"], start.moments, strict=True)
            ]
            n_steps = last["taken"]
            if not isinstance(n_steps, int) or not 0 < n_steps <= self.steps:
                raise ValueError(f"{n_steps!r} steps of {self.steps}")
            if not all(np.isfinite(values).all() for values in (*variables.values(), *moments)):
                raise ValueError("values that are not finite")
            return MaskState(n_steps, variables, tuple(moments))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise DataError(
                f"The journal's last entry holds no state of {self.name!r}: {error!r}."
            ) from error

    def check_step(self, experiment: Experiment, before: MaskState, after: MaskState) -> str | None:
        measured = before
        while measured.n_steps < after.n_steps:
            measured = self.take_step(experiment, measured)
        then, now = after.variables["log_alpha"], measured.variables["log_alpha"]
        ways = [(then, now, now - before.variables["log_alpha"])]
        # The optimiser's means of gradients tell models apart whose masks have not moved far yet.
        ways += [(*both, both[1]) for both in zip(after.moments, measured.moments, strict=True)]
        if all(
            np.abs(one - two).max(initial=0.0) <= _DRIFT * np.abs(way).max(initial=0.0)
            for one, two, way in ways
        ):
            return None
        return f"the masks after step {after.n_steps} are others than those that are learned now"

    def count_evaluations(self, graph: Graph) -> int:
        """The cost of all steps in evaluations of a mask; it does not depend on the number of
        edges.
        """
        return GRADIENT_COST * self.steps


def _fill_mask(
    experiment: Experiment, of_free: Float[np.ndarray, " free"]
) -> Float[np.ndarray, " edges"]:
    """The mask over all edges: 1 where an edge is protected, 0 where it is left out."""
    mask = experiment.space.protected.astype(of_free.dtype)
    mask[experiment.space.free] = of_free
    return mask


def check_learning(steps: int, learning_rate: float, seed: int) -> None:
    """Refuse settings of the descent that make no sense."""
    check_between("steps", steps, 1, MOST_STEPS)
    check_positive("learning_rate", learning_rate)
    check_at_least("seed", seed, 0)


def check_positive(name: str, value: float) -> None:
    """Raise `ArgumentError` unless ``value`` is a finite number above zero."""
    if check_finite(name, value) <= 0:
        raise ArgumentError(f"{name} is {value}, but must be above 0.")


def check_size(n_edges: int, space: SearchSpace) -> None:
    """Raise `ArgumentError` if more edges shall be kept than the search has to decide on.

    A number of edges goes with no protected edges, which it would have to count.
    """
    if n_edges > len(space.free):
        raise ArgumentError(
            f"n_edges is {n_edges}, but the graph has only {len(space.free)} edges."
        )
    if n_edges and (space.n_protected or n_edges > space.free.sum()):
        raise ArgumentError(
            f"n_edges is {n_edges}, but the search space has {int(space.free.sum())} edges to "
            f"decide on beside {space.n_protected} that are protected: give no more, and none "
            "with protected edges."
        )


def _make_state(n_steps: int, variables: Variables, optimiser: Any) -> MaskState:
    arrays = {name: np.asarray(values) for name, values in variables.items()}
    return MaskState(
        n_steps, arrays, tuple(np.asarray(leaf) for leaf in jax.tree.leaves(optimiser))
    )


def _pack_array(values: np.ndarray) -> str:
    """The bytes of an array, little-endian, in base64."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def _unpack_array(packed: str, like: np.ndarray) -> np.ndarray:
    """The array of the type and shape of ``like`` that `_pack_array` made this text of."""
    values = np.frombuffer(base64.b64decode(packed, validate=True), like.dtype.newbyteorder("<"))
    return values.reshape(like.shape).astype(like.dtype)
