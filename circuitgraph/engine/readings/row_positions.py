"""Who sees whom among packed rows: each run's rows see each other, and the base run before them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.readings.rows import PatchRows
from circuitgraph.models.positions import Positions
from circuitgraph.models.transformer import Transformer


def place_rows(model: Transformer, inputs: Inputs, rows: PatchRows) -> tuple[Positions, Positions]:
    """The positions of rows as queries, and of all keys: the base run's tokens, then the rows."""
    base = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    own, token, run = base.queries_at(rows.token), rows.token, rows.run

    def gather_keys(x: Array) -> Array:
        return jnp.take_along_axis(x, token[:, None, :], axis=2)

    before = jnp.arange(inputs.tokens.shape[1]) < rows.start[..., None]
    same = (run[:, :, None] == run[:, None, :]) & (run >= 0)[:, None, :]
    visible = jnp.concatenate([own.visible & before, gather_keys(own.visible) & same], axis=2)
    back = jnp.concatenate([own.back, gather_keys(own.back)], axis=2)
    bias = base.bias
    if bias is not None:
        # [heads, batch, one, pos]: keys are the last axis
        index = jnp.broadcast_to(token[None, :, None], (len(bias), len(token), 1, token.shape[1]))
        bias = jnp.concatenate([bias, jnp.take_along_axis(bias, index, axis=3)], axis=3)
    queries = Positions(visible, back, own.cos, own.sin, bias)
    return queries, _join_turns(base, queries)


def place_some(
    queries: Positions, keys: Positions, at: Int[Array, "batch some"]
) -> tuple[Positions, Positions]:
    """The positions of some rows as queries, and of all keys, then these rows once more, which
    nobody sees.
    """
    own, n_own = queries.queries_at(at), at.shape[1]
    visible, back = (
        jnp.pad(array, ((0, 0), (0, 0), (0, n_own))) for array in (own.visible, own.back)
    )
    bias = None if own.bias is None else jnp.pad(own.bias, ((0, 0), (0, 0), (0, 0), (0, n_own)))
    some = Positions(visible, back, own.cos, own.sin, bias)
    return some, _join_turns(keys, some)


def _join_turns(keys: Positions, own: Positions) -> Positions:
    """The positions of keys with those of further rows behind them."""
    cos, sin = (
        None if old is None or new is None else jnp.concatenate([old, new], axis=2)
        for old, new in ((keys.cos, own.cos), (keys.sin, own.sin))
    )
    return own._replace(cos=cos, sin=sin)
