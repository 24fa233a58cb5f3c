"""Directions of units: the logits that they write towards, and the tokens that they read."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.edits import compute_change
from circuitgraph.engine.readings.head_matrices import fold_norm
from circuitgraph.engine.trace import trace_model
from circuitgraph.engine.unit_places import UnitPlace
from circuitgraph.models.norms import apply_norm, to_float32
from circuitgraph.models.transformer import Transformer


def list_written_rows(model: Transformer, place: UnitPlace) -> Float[Array, "units d"]:
    """What each unit adds to the stream for each 1 of its value, in all layers together.

    Without the divisor of a post-norm, and without what a dictionary scales by each token's input.
    """
    if place.dictionary is None:
        mlp = model.select_layer(place.layer)[0].mlp
        assert mlp is not None  # noqa: S101 - checked before
        return to_float32(mlp.unit_rows(place.units))
    total = jnp.zeros((len(place.units), model.spec.d_model))
    for rows, hook in zip(
        place.dictionary.decoder_rows(np.asarray(place.units)),
        place.dictionary.spec.writes,
        strict=True,
    ):
        as_stream = rows[None]  # [1, units, width]: units in the place of positions
        total += compute_change(model, hook, jnp.zeros_like(as_stream), as_stream)[0]
    return total


def list_read_rows(model: Transformer, place: UnitPlace) -> dict[str, Float[Array, "units d"]]:
    """The directions in which each unit reads the stream, by what they are called.

    The weight of the norm before the unit is in them. None where it reads something else: what
    heads fetch.
    """
    mlp = model.select_layer(place.layer)[0].mlp
    norm = None if mlp is None else mlp.norm
    if place.dictionary is not None:
        hook = place.dictionary.spec.reads
        if hook is None or hook.place == "z":
            return {}
        rows = to_float32(place.dictionary.w_enc[place.units])
        return {"reads": fold_norm(norm, rows) if hook.place == "mlp_normed" else rows}
    assert mlp is not None  # noqa: S101 - checked before
    rows = {"gate reads": mlp.w_gate, "reads": mlp.w_in}
    return {
        name: fold_norm(norm, to_float32(w[place.units]))
        for name, w in rows.items()
        if w is not None
    }


@eqx.filter_jit
def compare_tokens(
    model: Transformer, rows: Float[Array, "units d"], n: int
) -> tuple[Float[Array, "units n"], Int[Array, "units n"]]:
    """The cosines of the tokens whose embeddings are nearest to each direction, and the tokens."""
    embeddings = to_float32(apply_norm(model.embed_norm, model.embedding))
    lengths = jnp.linalg.norm(embeddings, axis=-1) * jnp.linalg.norm(rows, axis=-1)[:, None]
    with jax.default_matmul_precision("highest"):
        products = jnp.einsum("ud,vd->uv", rows, embeddings)
    cosines, tokens = jax.lax.top_k(jnp.where(lengths > 0, products / lengths, 0.0), n)
    return cosines, tokens


@eqx.filter_jit
def sum_final_parts(
    model: Transformer, inputs: Inputs, rows: Float[Array, "units d"]
) -> Float[Array, "units d"]:
    """What rows are behind the final norm of each token, with that token's divisor; the sum over
    all tokens.
    """
    with jax.default_matmul_precision("highest"):
        final = trace_model(model, inputs).final

        def sum_row(row: Array) -> Array:
            norm = model.final_norm
            part = jnp.broadcast_to(row.astype(final.dtype), final.shape)
            part = part if norm is None else norm.apply_to_part(part, final)
            return jnp.where(inputs.mask[..., None], to_float32(part), 0).sum((0, 1))

        return jax.lax.map(sum_row, rows)


@eqx.filter_jit
def rank_logits(
    model: Transformer, parts: Float[Array, "units d"], n: int
) -> tuple[Float[Array, "units two_n"], Int[Array, "units two_n"]]:
    """The logits that rise most and those that fall most, along parts behind the final norm."""
    with jax.default_matmul_precision("highest"):
        logits = model.project_rows(parts.astype(model.embedding.dtype))
    high, low = jax.lax.top_k(logits, n), jax.lax.top_k(-logits, n)
    return jnp.concatenate([high[0], -low[0]], -1), jnp.concatenate([high[1], low[1]], -1)
