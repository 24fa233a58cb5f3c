"""What an absent edge carries: the replacement of its writer's value.

Each ablation is one function with a decorator, from writer values on corrupted prompts to
replacements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.registry import Registry, read_summary

Written = Float[Array, "writers batch pos d"]
Replacement = Float[Array, "writers one_or_batch one_or_pos d"]
Mask = Bool[Array, "batch pos"]
AblationFunction = Callable[[Written, Mask], Replacement]


@dataclass(frozen=True)
class Ablation:
    """A named ablation.

    Attributes:
        function: from writer values [writers, batch, pos, d] and the token mask to replacements.
        per_prompt: True if each prompt has its own replacement; otherwise one replacement, with a
            batch axis of 1, is made from a whole reference set.
    """

    name: str
    function: AblationFunction
    per_prompt: bool

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.function)


ablations: Registry[Ablation] = Registry("ablation", "circuitgraph.engine")


def ablation(name: str, *, per_prompt: bool) -> Callable[[AblationFunction], AblationFunction]:
    """Register a function as an ablation; arguments as in `Ablation`."""

    def decorate(function: AblationFunction) -> AblationFunction:
        ablations.add(name, Ablation(name, function, per_prompt))
        return function

    return decorate


@ablation("resample", per_prompt=True)
def resample(written: Written, mask: Mask) -> Replacement:
    """The writer's value in the run on the corrupted prompt, position by position."""
    del mask
    return written


@ablation("zero", per_prompt=False)
def zero(written: Written, mask: Mask) -> Replacement:
    """Nothing at all."""
    del mask
    return jnp.zeros((written.shape[0], 1, 1, written.shape[-1]), written.dtype)


@ablation("mean", per_prompt=False)
def mean(written: Written, mask: Mask) -> Replacement:
    """The writer's mean over all positions of the reference prompts."""
    weights = mask.astype(written.dtype)
    return jnp.einsum("wbpd,bp->wd", written, weights)[:, None, None, :] / weights.sum()


@ablation("mean-positional", per_prompt=False)
def mean_positional(written: Written, mask: Mask) -> Replacement:
    """The writer's mean at each position, over the reference prompts that reach it."""
    weights = mask.astype(written.dtype)
    counts = jnp.maximum(weights.sum(0), 1.0)[
        :, None
    ]  # a position that no prompt reaches stays zero
    return (jnp.einsum("wbpd,bp->wpd", written, weights) / counts)[:, None]
