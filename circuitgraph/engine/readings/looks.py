"""Where heads look: how much each head takes, at given queries, of given keys."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.transformer import Transformer


class LookRun(NamedTuple):
    """What heads take, and what a head takes that looks at all tokens alike that it sees.

    Attributes:
        share: of each head, [layers, heads, kinds, batch, places].
        even: [layers, kinds, batch, places]; 0 where the key is not seen.
    """

    share: Float[Array, "layers heads kinds batch places"]
    even: Float[Array, "layers kinds batch places"]


@eqx.filter_jit
def run_looks(
    model: Transformer,
    inputs: Inputs,
    queries: Int[np.ndarray, "batch places"] | Int[Array, "batch places"],
    keys: Int[np.ndarray, "kinds batch places"] | Int[Array, "kinds batch places"],
) -> LookRun:
    """Run prompts, and keep what each query takes of the key of each kind."""
    queries, keys = jnp.asarray(queries), jnp.asarray(keys)
    rows = jnp.arange(len(queries))[:, None]
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["pattern"])
    assert trace.pattern is not None  # noqa: S101 - it was to be kept
    _, settings = model.stacked_layers()
    positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    # [layers, batch, queries, keys]
    seen = positions.visible & (positions.back < settings.window[:, None, None, None])
    even = seen / jnp.maximum(seen.sum(-1, keepdims=True), 1)
    return LookRun(trace.pattern[:, :, rows, queries, keys], even[:, rows, queries, keys])
