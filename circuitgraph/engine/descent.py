"""One compiled step of gradient descent on the variables of a mask that is learned."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

Variables = dict[str, Array]  # ``log_alpha`` has one number for each edge


@runtime_checkable
class MaskLearner(Protocol):
    """A search that learns a mask: how its variables make one, and what it minimises."""

    def make_mask(self, log_alpha: Any, step: Any) -> Any:
        """The mask that a step asks about, between 0 and 1; differentiable."""
        ...

    def compute_objective(self, loss: Any, mask: Any, variables: Any, step: Any) -> Any:
        """The loss, and what is paid for the edges that the mask keeps."""
        ...

    def make_optimiser(self) -> optax.GradientTransformation:
        """What moves the variables."""
        ...


@eqx.filter_jit
def run_mask(
    search: MaskLearner, variables: Variables, step: Int[Array, ""]
) -> Float[Array, " edges"]:
    """The mask of a step."""
    return search.make_mask(variables["log_alpha"], step)


@eqx.filter_jit
def run_descent_step(
    search: MaskLearner,
    variables: Variables,
    moments: tuple[Array, ...],
    loss: Float[Array, ""],
    gradient: Float[Array, " edges"],
    step: Int[Array, ""],
) -> tuple[Variables, Any]:
    """The variables and the optimiser's state after one step.

    Args:
        moments: the leaves of the optimiser's state before it.
        loss, gradient: the experiment's mean loss under the step's mask, and its derivative by that
            mask.
    """
    current = search.make_mask(variables["log_alpha"], step)

    def compute_objective(moved: Variables) -> Float[Array, ""]:
        mask = search.make_mask(moved["log_alpha"], step)
        linear = loss + jnp.vdot(gradient, mask - current)  # has the loss's value and derivative
        return search.compute_objective(linear, mask, moved, step)

    optimiser = search.make_optimiser()
    shape = jax.tree.structure(jax.eval_shape(optimiser.init, variables))
    updates, after = optimiser.update(
        jax.grad(compute_objective)(variables), jax.tree.unflatten(shape, moments), variables
    )
    return optax.apply_updates(variables, updates), after  # pyright: ignore[reportReturnType]
