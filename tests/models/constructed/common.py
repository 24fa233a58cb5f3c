"""One size for all named programs, so that the tests compile one transformer, and its logits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.models.constructed.compile import ConstructedModel, Sizes, compile_program
from circuitgraph.models.constructed.interpreter import UNDECIDED, run_program
from circuitgraph.models.constructed.named_programs import PREFIX, named_programs
from circuitgraph.models.transformer import Transformer

SIZES = Sizes(n_layers=4, n_heads=2, d_head=25, d_model=48, d_mlp=96, d_vocab=20, n_ctx=10)
_ROWS = 256


@cache
def model_of_common_size(name: str) -> ConstructedModel:
    """A named program in a transformer of the common size."""
    return compile_program(named_programs[name].make(), PREFIX + name, sizes=SIZES, exact=True)


@eqx.filter_jit
def _run_transformer(
    transformer: Transformer, tokens: np.ndarray, mask: np.ndarray
) -> Float[Array, "batch pos vocab"]:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return transformer(jnp.asarray(tokens), jnp.asarray(mask), positions)


def run_model(
    constructed: ConstructedModel, sequences: Sequence[Sequence[str]]
) -> Float[np.ndarray, "batch pos vocab"]:
    """Logits at every position of the model's context; the first position is the beginning."""
    n_ctx, rows = constructed.model.spec.n_ctx, -(-len(sequences) // _ROWS) * _ROWS
    tokens, mask = np.zeros((rows, n_ctx), np.int32), np.zeros((rows, n_ctx), bool)
    for row, sequence in enumerate(sequences):
        tokens[row, 1 : len(sequence) + 1] = [
            constructed.vocabulary.token_of(symbol) for symbol in sequence
        ]
        mask[row, : len(sequence) + 1] = True
    parts = [
        np.asarray(
            _run_transformer(
                constructed.model.transformer, tokens[i : i + _ROWS], mask[i : i + _ROWS]
            )
        )
        for i in range(0, rows, _ROWS)
    ]
    return np.concatenate(parts)[: len(sequences)]


def least_margin(constructed: ConstructedModel, sequences: Sequence[Sequence[str]]) -> float:
    """The least distance, at any position, of the program's value from any other in logits."""
    least, program = np.inf, constructed.program
    for sequence, logits in zip(sequences, run_model(constructed, sequences), strict=True):
        for i, value in enumerate(run_program(program, sequence)[program.output]):
            if value is not UNDECIDED:
                right = constructed.vocabulary.token_of(value)
                least = min(least, logits[i + 1, right] - np.delete(logits[i + 1], right).max())
    return float(least)
