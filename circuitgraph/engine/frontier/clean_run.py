"""What the frontier takes from the clean run: every node's value, and what no mask changes.

A node's value is its difference to its replacement (before a post-norm: the value itself), as in
`masked`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.masked.forward import compute_writer_values
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.positions import Positions
from circuitgraph.models.transformer import Transformer


class NodeValues(NamedTuple):
    """The value of every node at all positions, and at the scored ones.

    ``everywhere`` is out of date for nodes that are needed at the scored positions only.
    """

    everywhere: Float[Array, "nodes batch pos d"]
    scored: Float[Array, "nodes batch scored d"]

    def map_prompts(self, function: Callable[[int, Array], Array]) -> NodeValues:
        """Call a function with each array and the number of its axis of prompts."""
        return NodeValues(function(1, self.everywhere), function(1, self.scored))


class CleanRun(NamedTuple):
    """What no mask changes.

    Attributes:
        bases: what the readers get without any edge, then what they get in the clean run, both in
            the order of `Background.streams`; the last is zero.
        replaced: each node's replacement; zero for those before a post-norm.
        positions, queries: where all tokens stand, and the scored ones.
        score_at: the scored positions.
    """

    bases: NodeValues
    replaced: Float[Array, "nodes one_or_batch one_or_pos d"]
    positions: Positions
    queries: Positions
    score_at: Int[Array, "batch scored"]

    def map_prompts(self, function: Callable[[int, Array], Array]) -> CleanRun:
        """Call a function with each array and the number of its axis of prompts."""
        return CleanRun(
            self.bases.map_prompts(function),
            function(1, self.replaced),
            self.positions.map_prompts(function),
            self.queries.map_prompts(function),
            function(0, self.score_at),
        )


@eqx.filter_jit
def run_clean(
    model: Transformer, inputs: Inputs, background: Background
) -> tuple[CleanRun, NodeValues]:
    """What no mask changes of some prompts, and every node's value in the clean run."""
    with jax.default_matmul_precision("highest"):
        written, raw = compute_writer_values(model, inputs), compute_raw_values(model, inputs)
        clean = Background.of(model, written)
        zero = jnp.zeros_like(written[:1])
        # [streams without edges, clean streams, one that is zero; batch, pos, d]
        without_edges = jnp.broadcast_to(background.streams, clean.streams.shape)
        bases = jnp.concatenate([without_edges, clean.streams, zero])
        values = jnp.concatenate([written - background.writers, raw])
        replaced = jnp.pad(background.writers, [(0, len(raw)), (0, 0), (0, 0), (0, 0)])
    at = inputs.score_at
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    both = NodeValues(bases, take_scored(bases, at))
    clean_run = CleanRun(both, replaced, positions, positions.queries_at(at), at)
    return clean_run, NodeValues(values, take_scored(values, at))


def compute_raw_values(model: Transformer, inputs: Inputs) -> Float[Array, "raws batch pos d"]:
    """What each head writes into its layer's post-norm; nothing where there is none."""
    if model.spec.post_norm is None:
        embed = model.embed(inputs.tokens, inputs.positions)
        return jnp.zeros((0, *embed.shape), embed.dtype)
    raw = trace_model(model, inputs, ["raw_heads"]).raw_heads
    assert raw is not None  # noqa: S101 - it was to be kept
    return raw.reshape(-1, *raw.shape[2:])
