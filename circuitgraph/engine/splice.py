"""A model in which dictionaries' reconstructions stand in place of what they reconstruct."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Inputs, make_batch, make_inputs, take_scored
from circuitgraph.engine.edits import (
    add_change,
    compute_change,
    list_kept,
    make_no_edits,
    read_hook,
    trace_edited,
)
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.norms import to_float32
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Targets, metrics
from circuitgraph.tasks.prompts import Prompts

_LOGIT_BYTES = 2**28  # of one run's logits at all positions of one launch
_PROMPTS_AT_ONCE = 16  # whose values at all layers are kept for a moment


class SpliceMeasures(NamedTuple):
    """What a splice does to each prompt; means over the prompt's tokens.

    Attributes:
        losses: cross-entropy of the prompt's own next tokens: of the model, of the model with the
            reconstruction, and with nothing (zero) in its place.
        answer_losses: cross-entropy of the answers, likewise; NaN where there are none.
        kl: KL(model || model with the reconstruction), of the next token, in nats.
        n_active: features that are on.
        errors: squared distance of reconstruction and value, of all places together.
        values, squares: the value, and its squared length.
        fired: which features of which dictionary were on at any token, one row for each.
    """

    losses: Float[np.ndarray, "three prompts"]
    answer_losses: Float[np.ndarray, "three prompts"]
    kl: Float[np.ndarray, " prompts"]
    n_active: Float[np.ndarray, " prompts"]
    errors: Float[np.ndarray, " prompts"]
    values: Float[np.ndarray, "prompts places_d"]
    squares: Float[np.ndarray, " prompts"]
    fired: Float[np.ndarray, "prompts all_features"]


class _Splice(NamedTuple):
    """A run's logits, and what the dictionaries saw and made of it, side by side."""

    logits: Float[Array, "batch pos vocab"]
    features: Float[Array, "batch pos all_features"]
    values: Float[Array, "batch pos places_d"]
    written: Float[Array, "batch pos places_d"]


def collect_values(
    model: Transformer,
    tokens: Int[np.ndarray, "batch pos"],
    mask: Bool[np.ndarray, "batch pos"],
    hooks: Sequence[Hook],
) -> list[Float[np.ndarray, "tokens width"]]:
    """The values at some places, of all tokens of some prompts, one prompt after the other.

    Args:
        tokens, mask: prompts padded on the right, and True on their tokens.
    """
    parts: list[list[np.ndarray]] = [[] for _ in hooks]
    # rows of nothing fill the last launch up, so that one program serves all
    n_more = -len(tokens) % _PROMPTS_AT_ONCE if len(tokens) > _PROMPTS_AT_ONCE else 0
    full, full_mask = (np.pad(each, ((0, n_more), (0, 0))) for each in (tokens, mask))
    for start in range(0, len(full), _PROMPTS_AT_ONCE):
        rows = slice(start, start + _PROMPTS_AT_ONCE)
        inputs = make_inputs(full[rows], full_mask[rows], np.zeros(len(full[rows]), np.int32))
        for part, values in zip(parts, _run_hooks(model, inputs, tuple(hooks)), strict=True):
            part.append(np.asarray(values, np.float32)[full_mask[rows]])
    return [np.concatenate(part) for part in parts]


@eqx.filter_jit
def _run_hooks(model: Transformer, inputs: Inputs, hooks: tuple[Hook, ...]) -> list[Array]:
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, list_kept(model))
        return [read_hook(model, trace, hook) for hook in hooks]


def measure_splice(
    model: Transformer, prompts: Prompts, dictionaries: Sequence[Dictionary]
) -> SpliceMeasures:
    """Run the prompts as they are, spliced, and with nothing in the place of what is spliced.

    Args:
        dictionaries: all that are in the model at once, lowest layer first; of a cross-layer
            transcoder all layers.
    """
    n_pos = prompts.mask.shape[1]
    at_once = max(1, _LOGIT_BYTES // (4 * n_pos * model.spec.d_vocab_out))
    parts = []
    for rows in cut_prompts(prompts, at_once):
        batch = make_batch(prompts, rows)
        measures = _measure_batch(model, batch.inputs, batch.targets, tuple(dictionaries))
        parts.append(jax.tree.map(lambda a: np.asarray(a, np.float64), measures))
    # the axis of prompts is the last one of the losses, the first one of all else
    return SpliceMeasures(
        *(
            np.concatenate(values, axis=1 if name.endswith("losses") else 0)
            for name, values in zip(SpliceMeasures._fields, zip(*parts, strict=True), strict=True)
        )
    )


@eqx.filter_jit
def _measure_batch(
    model: Transformer, inputs: Inputs, targets: Targets, dictionaries: tuple[Dictionary, ...]
) -> tuple[Array, ...]:
    """The fields of `SpliceMeasures`, of one launch."""

    def run_once(how: Float[Array, " two"]) -> _Splice:
        return _run_splice(model, inputs, dictionaries, how[0], how[1])

    with jax.default_matmul_precision("highest"):
        # as it is; with the reconstruction in its place; with zeros. One program for all three.
        runs = jax.lax.map(run_once, jnp.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
        spliced = jax.tree.map(lambda run: run[1], runs)
        is_on = (spliced.features != 0) & inputs.mask[..., None]
        full, circuit = (jax.nn.log_softmax(to_float32(runs.logits[i])) for i in (0, 1))
        return (
            jnp.stack([measure_next_tokens(logits, inputs) for logits in runs.logits]),
            jnp.stack([_measure_answers(logits, inputs, targets) for logits in runs.logits]),
            _average((jnp.exp(full) * (full - circuit)).sum(-1), inputs.mask),
            _average(is_on.sum(-1), inputs.mask),
            _average(jnp.square(spliced.written - spliced.values).sum(-1), inputs.mask),
            jax.vmap(_average, (2, None), 1)(spliced.values, inputs.mask),
            _average(jnp.square(spliced.values).sum(-1), inputs.mask),
            is_on.any(1).astype(jnp.float32),
        )


def _run_splice(
    model: Transformer,
    inputs: Inputs,
    dictionaries: tuple[Dictionary, ...],
    share: Float[Array, ""],
    scale: Float[Array, ""],
) -> _Splice:
    """Run with each place replaced, lower layers first.

    What is written into a layer is the sum over all dictionaries that write there, and the layer's
    own one, the last of them, puts it in.

    Args:
        share: of what is replaced; 0 for the model as it is.
        scale: of what stands in its place; 0 for zeros.
    """
    dtype = model.embedding.dtype
    edits = make_no_edits(model, inputs)
    sums: dict[Hook, Array] = {}
    features, values, written = [], [], []
    for dictionary in dictionaries:
        trace = trace_edited(model, inputs, edits)
        reads, writes = dictionary.spec.reads, dictionary.spec.writes
        assert reads is not None  # noqa: S101 - `check_dictionary` comes first
        x = read_hook(model, trace, reads)
        features.append(dictionary.encode(x))
        for number, hook in enumerate(writes):
            part = dictionary.decode(features[-1], x, number)
            sums[hook] = sums[hook] + part if hook in sums else part
        values.append(read_hook(model, trace, writes[0]))
        written.append(sums[writes[0]])
        instead = (scale * written[-1]).astype(dtype)
        change = compute_change(model, writes[0], values[-1], instead)
        edits = add_change(model, edits, writes[0], share.astype(dtype) * change)
    final = trace_edited(model, inputs, edits).final
    return _Splice(
        model.unembed(final), *(jnp.concatenate(part, -1) for part in (features, values, written))
    )


def measure_next_tokens(
    logits: Float[Array, "batch pos vocab"], inputs: Inputs
) -> Float[Array, " batch"]:
    """Cross-entropy of each prompt's own next tokens."""
    log_p = jax.nn.log_softmax(to_float32(logits))[:, :-1]
    own = jnp.take_along_axis(log_p, inputs.tokens[:, 1:, None], axis=-1)[..., 0]
    return _average(-own, inputs.mask[:, 1:])


def _measure_answers(
    logits: Float[Array, "batch pos vocab"], inputs: Inputs, targets: Targets
) -> Float[Array, " batch"]:
    if targets.answer is None:
        return jnp.full(len(logits), jnp.nan, jnp.float32)
    return metrics["cross_entropy"].measure(take_scored(logits, inputs.score_at), targets)


def _average(values: Array, mask: Array) -> Float[Array, " batch"]:
    """The mean over a prompt's tokens; NaN where there are none."""
    return jnp.where(mask, values, 0).sum(1) / mask.sum(1)
