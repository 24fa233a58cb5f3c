"""Which tokens go to which experts, as blocks of tokens that one expert computes at a time."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int


class Blocks(NamedTuple):
    """Pairs of a token and an expert that it chose, sorted by expert and cut into blocks.

    A token has its pairs in the order of the experts, so that its sum does not depend on others.

    Attributes:
        expert: of each block.
        token: of each place of a block; the number of tokens where there is none.
        share: the weight of the expert's output there.
    """

    expert: Int[Array, " blocks"]
    token: Int[Array, "blocks places"]
    share: Float[Array, "blocks places"]


def cut_blocks(
    shares: Float[Array, "tokens active"], chosen: Int[Array, "tokens active"], n_experts: int
) -> Blocks:
    """The pairs of all tokens.

    A block has as many places as an expert has pairs on average: at most half of all places are
    empty, and there are never more blocks than pairs, or than twice the experts.
    """
    n_tokens, n_active = chosen.shape
    n_pairs = n_tokens * n_active
    size = -(-n_pairs // n_experts)
    order = jnp.argsort(chosen.ravel(), stable=True)
    pairs_of = jnp.bincount(chosen.ravel(), length=n_experts)
    blocks_of = -(-pairs_of // size)
    last_pair, last_block = jnp.cumsum(pairs_of), jnp.cumsum(blocks_of)
    block = jnp.arange(min(n_pairs, n_pairs // size + n_experts))
    # blocks that are not needed come last, and have no token in them
    expert = jnp.minimum((block[:, None] >= last_block).sum(-1), n_experts - 1)
    first = (last_pair - pairs_of)[expert] + size * (block - (last_block - blocks_of)[expert])
    place = first[:, None] + jnp.arange(size)
    pair = order[jnp.minimum(place, n_pairs - 1)]
    token = jnp.where(place < last_pair[expert][:, None], pair // n_active, n_tokens)
    return Blocks(expert, token, shares.ravel()[pair])
