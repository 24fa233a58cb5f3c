"""Edits: what is added to values of a run at places that dictionaries have, and such values read.

An edit of a place may depend on a value that other edits change. Edits are therefore made one after
the other, lower places first, each from a run that has the edits before it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.trace import Trace, trace_model
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.split_mlp import read_mlp_place
from circuitgraph.models.transformer import Stream, Transformer

_KEPT = ("stream", "z", "mlp_input")


class Edits(NamedTuple):
    """What is added to the values of a run: to the embedding, and in each layer."""

    embed: Stream
    attention: Float[Array, "layers batch pos d"]
    mlp: Float[Array, "layers batch pos d"]


def make_no_edits(model: Transformer, inputs: Inputs) -> Edits:
    """Edits that add zero everywhere."""
    shape, dtype = (*inputs.tokens.shape, model.spec.d_model), model.embedding.dtype
    layers = (model.spec.n_layers, *shape)
    return Edits(jnp.zeros(shape, dtype), jnp.zeros(layers, dtype), jnp.zeros(layers, dtype))


def list_kept(model: Transformer) -> tuple[str, ...]:
    """What a trace has to keep, so that `read_hook` can read all places of a model."""
    return _KEPT if model.spec.d_mlp is not None else _KEPT[:2]


def trace_edited(model: Transformer, inputs: Inputs, edits: Edits) -> Trace:
    """A run with these edits, which keeps what `read_hook` reads."""

    def add_edit(data: Edits, name: str, value: Array) -> Array:
        return value + getattr(data, name) if name in ("attention", "mlp") else value

    start = model.embed(inputs.tokens, inputs.positions) + edits.embed
    # the scan over layers takes a slice of each field: those of the embedding are not its
    data = edits._replace(embed=jnp.zeros(model.spec.n_layers))
    return trace_model(model, inputs, list_kept(model), start=start, edit=add_edit, layer_data=data)


def add_change(
    model: Transformer, edits: Edits, hook: Hook, change: Float[Array, "batch pos d"]
) -> Edits:
    """The edits with one more; of what heads fetch the change of what they write is added."""
    if hook.place == "embed" or (hook.place == "resid_pre" and hook.layer == 0):
        return edits._replace(embed=edits.embed + change)
    layer = hook.layer - (hook.place == "resid_pre")
    of_mlp = hook.after_mlp or (hook.in_stream and hook.place != "resid_mid")
    name = "mlp" if of_mlp and model.spec.d_mlp is not None else "attention"
    return edits._replace(**{name: getattr(edits, name).at[layer].add(change)})


def compute_change(
    model: Transformer,
    hook: Hook,
    value: Float[Array, "batch pos width"],
    instead: Float[Array, "batch pos width"],
) -> Float[Array, "batch pos d"]:
    """What has to be added where something stands in place of a value."""
    if hook.place == "z":
        attention = model.select_layer(hook.layer)[0].attention
        value, instead = (
            attention.combine_heads(split_heads(z, model.spec.n_heads)) for z in (value, instead)
        )
    return instead - value


def read_edited(
    model: Transformer, trace: Trace, edits: Edits, hook: Hook
) -> Float[Array, "batch pos width"]:
    """`read_hook`, with the edits of the place itself."""
    value = read_hook(model, trace, hook)
    if hook.after_mlp:
        return value + edits.mlp[hook.layer]
    is_middle = hook.place == "resid_mid" and trace.mlp_input is None
    return value + edits.attention[hook.layer] if hook.after_attention or is_middle else value


def read_hook(model: Transformer, trace: Trace, hook: Hook) -> Float[Array, "batch pos width"]:
    """The value at a place in a run that kept the stream, what heads fetched, and MLPs' inputs."""
    place, layer = hook.place, hook.layer
    assert trace.stream is not None and trace.z is not None  # noqa: S101, PT018 - both are kept
    if place == "embed":
        return trace.embed
    if place in ("resid_pre", "resid_post"):
        return trace.streams[layer + (place == "resid_post")]
    block, _ = model.select_layer(layer)
    if place == "z":
        return jnp.moveaxis(trace.z[layer], 0, 2).reshape(*trace.z.shape[2:4], -1)
    if hook.after_attention or trace.mlp_input is None:
        written = block.attention.combine_heads(trace.z[layer])
        return written if hook.after_attention else trace.stream[layer] + written
    assert block.mlp is not None  # noqa: S101 - `check_dictionary` comes first
    return read_mlp_place(block.mlp, place, trace.mlp_input[layer])


def split_heads(
    z: Float[Array, "batch pos heads_d"], n_heads: int
) -> Float[Array, "heads batch pos d_head"]:
    """What heads fetched, side by side, as one array for each head."""
    return jnp.moveaxis(z.reshape(*z.shape[:2], n_heads, -1), 2, 0)
