"""A trace: one run of the model that keeps what is asked for, with edits applied on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs
from circuitgraph.errors import ArgumentError, unknown_name
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Block, LayerRun, Stream, Transformer, keep_value

LayerEdit = Callable[[Any, str, Array], Array]
"""From a layer's own data, a value's name and the value to the value that the run goes on with."""


class Trace(NamedTuple):
    """Values of one run, layers stacked (first axis); None where a value was not to be kept.

    Attributes:
        embed, final: the stream before the first layer and after the last one.
        stream: the stream before each layer, [layers, batch, pos, d].
        after_attention: the stream with what the layer's attention has added, likewise.
        mlp_input: what each MLP reads, likewise; None without MLPs.
        z: what each head fetched, [layers, heads, batch, pos, d_head].
        heads, raw_heads: what each head adds to the stream, and what it writes into the post-norm.
        writers: what each head and then the MLP adds, [layers, slots, batch, pos, d].
        pattern: where each head attends, [layers, heads, batch, queries, keys].
        hidden: what the MLPs' output weights read, [layers, batch, pos, d_mlp].
    """

    embed: Stream
    final: Stream
    stream: Float[Array, "layers batch pos d"] | None = None
    after_attention: Float[Array, "layers batch pos d"] | None = None
    mlp_input: Float[Array, "layers batch pos d"] | None = None
    z: Float[Array, "layers heads batch pos d_head"] | None = None
    heads: Float[Array, "layers heads batch pos d"] | None = None
    raw_heads: Float[Array, "layers heads batch pos d"] | None = None
    writers: Float[Array, "layers slots batch pos d"] | None = None
    pattern: Float[Array, "layers heads batch queries keys"] | None = None
    hidden: Float[Array, "layers batch pos d_mlp"] | None = None

    @property
    def streams(self) -> Float[Array, "streams batch pos d"]:
        """The stream before each layer, which must have been kept, and after the last one."""
        assert self.stream is not None  # noqa: S101 - it was to be kept
        return jnp.concatenate([self.stream, self.final[None]])


_STREAM_OF_RUN = {"stream": "x"}  # a layer run calls what it reads ``x``
KEEPABLE = tuple(name for name in Trace._fields if name not in ("embed", "final"))


def trace_model(
    model: Transformer,
    inputs: Inputs,
    keep: Collection[str] = (),
    *,
    start: Stream | None = None,
    edit: LayerEdit | None = None,
    layer_data: Any = None,
    positions: Positions | None = None,
) -> Trace:
    """Run the model on prompts and keep values of each layer. To be called in a compiled function.

    Args:
        keep: names of values to keep, of `KEEPABLE`. If writers or heads are kept, the stream is
            the sum of the writers to the last bit; else up to rounding.
        start: what the embedding writes; by default the model's own embedding of the prompts.
        edit: applied to values of each layer, as `Block.run` says.
        layer_data: a pytree with a first axis of layers; the edit gets each layer's slice of it.
        positions: who sees whom; by default as in right-padded prompts.

    Raises:
        ArgumentError: hidden values of a mixture of experts, which has them once for each expert.
        UnknownNameError: no value of that name.
    """
    check_keep(model.spec, keep)
    if positions is None:
        positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
    embed = model.embed(inputs.tokens, inputs.positions) if start is None else start
    by_head = not {"heads", "writers"}.isdisjoint(keep)

    def run_layer(
        x: Stream, layer: tuple[tuple[Block, LayerSettings], Any]
    ) -> tuple[Stream, dict[str, Array | None]]:
        (block, settings), own_data = layer
        own_edit = keep_value if edit is None else partial(edit, own_data)
        run = block.run(x, positions, settings, by_head=by_head, edit=own_edit)
        return run.after, {name: _value_of(run, name) for name in keep}

    final, kept = jax.lax.scan(run_layer, embed, (model.stacked_layers(), layer_data))
    return Trace(embed, final, **kept)


def _value_of(run: LayerRun, name: str) -> Array | None:
    return getattr(run, _STREAM_OF_RUN.get(name, name))


def check_keep(spec: Spec, keep: Collection[str]) -> None:
    """Refuse values that the model's layers do not have; see `trace_model`."""
    for name in keep:
        if name not in KEEPABLE:
            raise unknown_name("value of a layer", name, KEEPABLE)
    if "hidden" in keep and spec.experts is not None:
        raise ArgumentError(
            "A mixture of experts has hidden values once for each expert, and no single ones to "
            "keep: leave 'hidden' out."
        )
