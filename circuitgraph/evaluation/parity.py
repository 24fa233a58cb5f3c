"""Is the compiled model the model? Logits and residual stream beside those of transformers."""

from __future__ import annotations

from importlib import metadata

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.compile_record import ParityRecord
from circuitgraph.engine.batch import Inputs, unpadded_inputs
from circuitgraph.engine.masked.programs import run_everywhere, run_writers
from circuitgraph.errors import ArgumentError, ModelError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.reference import run_reference
from circuitgraph.models.spec import Spec

REDUCED = ("bfloat16", "float16")
_SMALLEST_DIVISOR = float(np.finfo(np.float32).tiny)


def verify(
    model: LanguageModel, *, n_prompts: int = 4, n_tokens: int | None = None, seed: int = 0
) -> ParityRecord:
    """Compare the model with transformers' own code on random prompts.

    The checkpoint is loaded once more, with transformers.

    Args:
        n_tokens: length of the prompts; 32 if None, or the model's context if that is shorter.
            Windows and original contexts of this length or more are not tested; the record names
            them.

    Raises:
        ArgumentError: prompts longer than the model's context.
        ModelError: transformers cannot run the model, or numbers leave the precision's range.
    """
    check_at_least("the number of prompts", n_prompts, 1)
    n_tokens = min(32, model.spec.n_ctx) if n_tokens is None else n_tokens
    check_at_least("the number of tokens", n_tokens, 1)
    if n_tokens > model.spec.n_ctx:
        raise ArgumentError(
            f"Prompts of {n_tokens} tokens do not fit into the model's context of "
            f"{model.spec.n_ctx}."
        )
    tokens = np.random.default_rng(seed).integers(0, model.spec.d_vocab, (n_prompts, n_tokens))
    theirs = run_reference(model, tokens)
    inputs = unpadded_inputs(tokens)
    logits = _widen(run_everywhere(model.transformer, inputs))
    compared = {
        "our logits": logits,
        "transformers' logits": theirs.logits,
        "its residual stream": theirs.streams,
    }
    _check_finite(model, compared)
    residual = measure_residual_errors(model, inputs, theirs.streams)
    difference = np.abs(logits - theirs.logits)
    prompt, position, token = (
        int(i) for i in np.unravel_index(np.argmax(difference), difference.shape)
    )
    largest, worst = float(np.abs(theirs.logits).max()), float(difference.max())
    relative = float(
        np.sqrt(np.mean(difference**2) / max(np.mean(theirs.logits**2), _SMALLEST_DIVISOR))
    )
    if model.dtype in REDUCED:
        held = relative <= 2e-2
    else:
        held = worst <= max(1e-4, 1e-5 * largest) and max(residual) <= 1e-5
    return ParityRecord(
        reference=f"transformers {metadata.version('transformers')}, eager",
        precision=model.dtype,
        seed=seed,
        n_prompts=n_prompts,
        n_tokens=n_tokens,
        difference=worst,
        prompt=prompt,
        position=position,
        token=token,
        largest_logit=largest,
        relative=relative,
        argmax_agreement=float((logits.argmax(-1) == theirs.logits.argmax(-1)).mean()),
        residual=residual,
        untested=list_untested(model.spec, n_tokens),
        held=held,
    )


def list_untested(spec: Spec, n_tokens: int) -> list[str]:
    """What shows in prompts longer than ``n_tokens`` only."""
    windows = sorted({size for size in spec.windows if size is not None and size >= n_tokens})
    contexts = {rope.context for rope in spec.ropes if rope.context is not None}
    contexts = sorted(context for context in contexts if context >= n_tokens)
    return [f"windows of {window} tokens" for window in windows] + [
        f"rotation beyond {context} tokens" for context in contexts
    ]


def _check_finite(model: LanguageModel, compared: dict[str, np.ndarray]) -> None:
    """Numbers that are not finite cannot be compared, and no record holds them."""
    if bad := [name for name, numbers in compared.items() if not np.isfinite(numbers).all()]:
        raise ModelError(
            f"Nothing can be compared: in {model.dtype} {' and '.join(bad)} of {model.name!r} are "
            "not finite. Choose a precision of larger range: bfloat16, float32 or float64."
        )


def measure_residual_errors(
    model: LanguageModel, inputs: Inputs, streams: Float[np.ndarray, "layers_and_one batch pos d"]
) -> list[float]:
    """Law 1 per layer: embedding + writers + constants so far, against another residual stream."""
    values = _widen(run_writers(model.transformer, inputs))  # [writers, batch, pos, d]
    constants = np.cumsum(_widen(model.transformer.blocks.attention.constant), axis=0)
    layers = np.array([writer.node.layer for writer in model.graph().writers])
    errors, total = [], np.zeros_like(streams[0])
    for layer, stream in enumerate(streams):
        total = total + values[layers == layer - 1].sum(0)
        ours = total + (constants[layer - 1] if layer else 0.0)
        errors.append(
            float(np.abs(ours - stream).max() / max(np.abs(stream).max(), _SMALLEST_DIVISOR))
        )
    return errors


def _widen(array: object) -> np.ndarray:
    x = jnp.asarray(array)
    return np.asarray(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
