"""What an absent edge carries: the replacement of its writer's value, and the sums of these.

Each ablation is one function with a decorator, from writer values on corrupted prompts to
replacements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.engine.grid import split_by_layer
from circuitgraph.engine.values import Values, sum_all_layers
from circuitgraph.models.transformer import Transformer
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

    def replace_values(self, written: Values, mask: Mask) -> Values:
        """The replacement of every writer: of a unit's number as of a vector of one dimension."""
        units = self.function(written.units[..., None], mask)[..., 0]
        return Values(self.function(written.nodes, mask), units)

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
    # a position that no prompt reaches stays zero
    counts = jnp.maximum(weights.sum(0), 1.0)[:, None]
    return (jnp.einsum("wbpd,bp->wpd", written, weights) / counts)[:, None]


class Background(NamedTuple):
    """All that a reader gets whatever the mask: ``sum of replacements + constants``.

    Attributes:
        writers: the replacement of every writer.
        into_heads, into_mlp: what every head, or the MLP, of each layer gets.
        final: what the logits get.
    """

    writers: Values
    into_heads: Float[Array, "layers one_or_batch one_or_pos d"]
    into_mlp: Float[Array, "layers one_or_batch one_or_pos d"]
    final: Float[Array, "one_or_batch one_or_pos d"]

    @classmethod
    def of(cls, model: Transformer, replacement: Values) -> Background:
        """The background that these replacements of all writers make."""
        n_heads = model.n_head_slots
        embed, by_layer = split_by_layer(replacement.nodes, model.spec.n_layers)
        constant = model.blocks.attention.constant[:, None, None, :]  # [layers, 1, 1, d]
        from_heads = by_layer[:, :n_heads].sum(1) + constant
        from_mlps = by_layer[:, n_heads:].sum(1)
        if model.units is not None:
            from_mlps += sum_all_layers(replacement.units, model.units)
        # the stream after each layer; a layer's heads read the one after the layer before
        after = embed + jnp.cumsum(from_heads + from_mlps, axis=0)
        into_heads = jnp.concatenate([embed[None], after[:-1]])
        into_mlp = model.blocks.mlp_input(into_heads, into_heads + from_heads)
        return cls(replacement, into_heads, into_mlp, after[-1])

    @property
    def streams(self) -> Float[Array, "streams one_or_batch one_or_pos d"]:
        """The three kinds of streams one after the other, as `Grid.stream` numbers them."""
        return jnp.concatenate([self.into_heads, self.into_mlp, self.final[None]])

    def map_prompts(self, function: Callable[[int, Array], Array]) -> Background:
        """Call a function with each array and the number of its axis of prompts."""
        into_heads, into_mlp = (function(1, part) for part in (self.into_heads, self.into_mlp))
        writers = self.writers.map_arrays(lambda part: function(1, part))
        return Background(writers, into_heads, into_mlp, function(0, self.final))
