"""Single weights of MLPs' output matrices: what passes through them, and runs without them."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, Inputs, take_scored
from circuitgraph.engine.splice import measure_next_tokens
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.mlp import MLP, apply_linear
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Stream, Transformer
from circuitgraph.tasks.metrics import metrics

Numbers = Int[np.ndarray, " weights"]


class WeightPlaces(NamedTuple):
    """Some output weights, as stored by Hugging Face for torch's Linear: layer, row, column."""

    layers: Numbers
    rows: Numbers
    columns: Numbers


class Spikes(NamedTuple):
    """The numbers of largest size that go into and come out of each MLP's output matrix.

    Attributes:
        read, written: the numbers, with their signs.
        read_at, written_at: prompt, position, and column (of the hidden value) or row.
    """

    read: Float[Array, " layers"]
    read_at: Int[Array, "layers 3"]
    written: Float[Array, " layers"]
    written_at: Int[Array, "layers 3"]


class TextEffects(NamedTuple):
    """How a model does on each prompt.

    Attributes:
        loss: mean cross-entropy of the prompt's own next tokens; NaN where there are none, or the
            model predicts other classes than tokens.
        stop_words: probability of all stop words together, at scored positions (their mean).
        answer: cross-entropy of the answer; NaN where there is none.
    """

    loss: Float[Array, " batch"]
    stop_words: Float[Array, " batch"]
    answer: Float[Array, " batch"]


def scale_weights(model: Transformer, places: WeightPlaces, factor: float) -> Transformer:
    """The network with some output weights of MLPs multiplied."""
    weights = model.blocks.mlp.w_out  # pyright: ignore[reportOptionalMemberAccess]
    scaled = weights.at[tuple(places)].multiply(jnp.asarray(factor, weights.dtype))
    return eqx.tree_at(lambda network: network.blocks.mlp.w_out, model, scaled)


@eqx.filter_jit
def run_spikes(model: Transformer, inputs: Inputs) -> Spikes:
    """Where each MLP's output matrix reads and writes most, before a post-norm."""

    def find_spikes(layer: tuple[MLP, Stream]) -> Spikes:
        mlp, x = layer
        hidden = mlp.read_hidden(x)
        written = apply_linear(hidden, mlp.w_out, mlp.b_out)
        return Spikes(*_find_largest(hidden, inputs.mask), *_find_largest(written, inputs.mask))

    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["mlp_input"])
        return jax.lax.map(find_spikes, (model.blocks.mlp, trace.mlp_input))


@eqx.filter_jit
def run_text(
    model: Transformer, batch: Batch, stop_words: Int[Array | np.ndarray, " words"]
) -> TextEffects:
    """How a model does on prompts."""
    with jax.default_matmul_precision("highest"):
        return _measure_text(model, trace_model(model, batch.inputs).final, batch, stop_words)


@eqx.filter_jit
def run_restored(
    model: Transformer,
    without: Transformer,
    batch: Batch,
    places: WeightPlaces,
    stop_words: Int[Array | np.ndarray, " words"],
) -> TextEffects:
    """How a model without some weights does when the numbers that they made are put back.

    That is, in each prompt, what the MLP of a weight's layer adds to the weight's row of the stream
    at the one position where the whole model's addition is largest.
    """

    def restore_largest(own: tuple[Stream, Array], name: str, value: Array) -> Array:
        added, is_row = own
        if name != "mlp":
            return value
        sizes = jnp.where(batch.inputs.mask[..., None], jnp.abs(added), -1.0)
        is_largest = sizes == sizes.max(axis=1, keepdims=True)
        return jnp.where(is_largest & is_row, added, value)

    with jax.default_matmul_precision("highest"):
        whole = trace_model(model, batch.inputs, ["mlp_input"])
        added = jax.lax.map(lambda layer: layer[0](layer[1]), (model.blocks.mlp, whole.mlp_input))
        is_row = jnp.zeros((model.spec.n_layers, model.spec.d_model), bool)
        is_row = is_row.at[places.layers, places.rows].set(True)
        layer_data = (added, is_row)
        trace = trace_model(without, batch.inputs, edit=restore_largest, layer_data=layer_data)
        return _measure_text(without, trace.final, batch, stop_words)


def _find_largest(values: Float[Array, "batch pos n"], mask: Array) -> tuple[Array, Array]:
    """The number of largest size among real tokens, and where it stands."""
    sizes = jnp.where(mask[..., None], jnp.abs(values), -1.0)
    at = jnp.stack(jnp.unravel_index(sizes.argmax(), sizes.shape))
    return values[tuple(at)], at


def _measure_text(
    model: Transformer, final: Stream, batch: Batch, stop_words: Int[Array | np.ndarray, " words"]
) -> TextEffects:
    scored = model.unembed(take_scored(final, batch.inputs.score_at))
    shares = jax.nn.softmax(to_float32(scored))
    stop = shares[..., stop_words].sum(-1).mean(-1)
    answer = jnp.full_like(stop, jnp.nan)
    if batch.targets.answer is not None:
        answer = metrics["cross_entropy"].measure(scored, batch.targets)
    loss = jnp.full_like(stop, jnp.nan)
    if model.spec.d_vocab_out == model.spec.d_vocab:  # else what is predicted are no tokens
        loss = measure_next_tokens(model.unembed(final), batch.inputs)
    return TextEffects(loss, stop, answer)
