"""One size for all named programs, so that one compiled transformer serves the tests, and how they
are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.models.constructed.compile import Constructed, Sizes, compiled
from circuitgraph.models.constructed.interpreter import UNDECIDED, run
from circuitgraph.models.constructed.programs import PREFIX, programs
from circuitgraph.models.transformer import Transformer

SIZES = Sizes(n_layers=4, n_heads=2, d_head=25, d_model=48, d_mlp=96, d_vocab=20, n_ctx=10)
_ROWS = 256


@cache
def padded(name: str) -> Constructed:
    """A named program in a transformer of the common size."""
    return compiled(programs[name].make(), PREFIX + name, sizes=SIZES, exact=True)


@eqx.filter_jit
def _logits(
    transformer: Transformer, tokens: np.ndarray, mask: np.ndarray
) -> Float[Array, "batch pos vocab"]:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return transformer(jnp.asarray(tokens), jnp.asarray(mask), positions)


def logits(
    constructed: Constructed, sequences: Sequence[Sequence[str]]
) -> Float[np.ndarray, "batch pos vocab"]:
    """At every position of the model's context, the first of which is the beginning."""
    n_ctx, rows = constructed.model.spec.n_ctx, -(-len(sequences) // _ROWS) * _ROWS
    tokens, mask = np.zeros((rows, n_ctx), np.int32), np.zeros((rows, n_ctx), bool)
    for row, sequence in enumerate(sequences):
        tokens[row, 1 : len(sequence) + 1] = [
            constructed.vocabulary.index(symbol) for symbol in sequence
        ]
        mask[row, : len(sequence) + 1] = True
    parts = [
        np.asarray(
            _logits(constructed.model.transformer, tokens[i : i + _ROWS], mask[i : i + _ROWS])
        )
        for i in range(0, rows, _ROWS)
    ]
    return np.concatenate(parts)[: len(sequences)]


def least_margin(constructed: Constructed, sequences: Sequence[Sequence[str]]) -> float:
    """How much higher the logit of what the program says is than any other, at the least, at any
    position.
    """
    least, program = np.inf, constructed.program
    for sequence, found in zip(sequences, logits(constructed, sequences), strict=True):
        for i, value in enumerate(run(program, sequence)[program.output]):
            if value is not UNDECIDED:
                right = constructed.vocabulary.index(value)
                least = min(least, found[i + 1, right] - np.delete(found[i + 1], right).max())
    return float(least)
