"""Vectors at one position of each prompt, at one kind of place in every layer."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.trace import Trace, trace_model
from circuitgraph.models.norms import apply_norm
from circuitgraph.models.transformer import Transformer

VectorSite = Literal["stream", "mlp-norm", "attention", "mlp"]


@eqx.filter_jit
def run_sites(
    model: Transformer, inputs: Inputs, site: VectorSite
) -> Float[Array, "layers_or_more batch d"]:
    """The vectors of each layer at each prompt's first scored position.

    Args:
        site: the ``stream`` after each layer, with the embedding before the first; the output of
            the norm before each MLP (``mlp-norm``); or what ``attention`` or ``mlp`` add.
    """
    with jax.default_matmul_precision("highest"):
        keep = {"stream": "stream", "attention": "z"}.get(site, "mlp_input")
        trace = trace_model(model, inputs, [keep])
        vectors = _read_site(model, trace, site)
        return take_scored(vectors, inputs.score_at[:, :1])[:, :, 0]


def _read_site(model: Transformer, trace: Trace, site: VectorSite) -> Array:
    blocks = model.blocks
    if site == "stream":
        return trace.streams
    if site == "attention":
        return jax.lax.map(
            lambda layer: layer[0].combine_heads(layer[1]), (blocks.attention, trace.z)
        )
    assert blocks.mlp is not None  # noqa: S101 - the method asks before
    if site == "mlp":
        return jax.lax.map(lambda layer: layer[0](layer[1]), (blocks.mlp, trace.mlp_input))
    norms = (blocks.mlp.norm, trace.mlp_input)
    return jax.lax.map(lambda layer: apply_norm(*layer), norms)
