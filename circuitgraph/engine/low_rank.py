"""What LoRA tunes of a layer: a change of low rank to its query and value matrices.

Source: Hu et al. 2021 (arXiv:2106.09685), whose factor alpha / rank is 1 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from circuitgraph.models.transformer import Block

_MATRICES = ("w_q", "w_v")  # those that the paper settles on


@dataclass(frozen=True)
class LowRankChange:
    """A matrix W of the layer becomes ``W + B @ A``; the numbers are A and B of each matrix.

    Attributes:
        rank: rows of A, columns of B.
        seed: of A as it begins; B begins as 0.
    """

    rank: int
    seed: int

    def read_numbers(self, block: Block) -> list[Array]:
        """A, uniform within 1 / sqrt(d_model) as in the paper's code, and B: no change yet."""
        numbers = []
        for key, name in zip(
            jax.random.split(jax.random.key(self.seed), 2), _MATRICES, strict=True
        ):
            matrix = getattr(block.attention, name)
            n_heads, d_head, d = matrix.shape
            size = d**-0.5
            down = jax.random.uniform(key, (self.rank, d), matrix.dtype, -size, size)
            numbers += [down, jnp.zeros((n_heads * d_head, self.rank), matrix.dtype)]
        return numbers

    def put_numbers(self, block: Block, numbers: Sequence[Array]) -> Block:
        """The block with the changes added."""
        attention = block.attention
        for name, down, up in zip(_MATRICES, numbers[::2], numbers[1::2], strict=True):
            matrix = getattr(attention, name)
            attention = replace(attention, **{name: matrix + (up @ down).reshape(matrix.shape)})
        return replace(block, attention=attention)
