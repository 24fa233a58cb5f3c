"""Is the compiled model the model? Logits and residual stream beside those of others' code."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from circuitgraph.catalog.compile_record import ParityRecord
from circuitgraph.engine.batch import Inputs, unpadded_inputs
from circuitgraph.engine.masked.programs import run_everywhere, run_streams, run_writers
from circuitgraph.errors import ArgumentError, ModelError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.norms import to_float32
from circuitgraph.models.reference import (
    INSTALL,
    SMALLEST_DIVISOR,
    Reference,
    Rounding,
    find_reference,
    list_not_proved,
    measure_relative_error,
    run_reference,
    run_reference_twice,
)
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer_lens_checkpoint import FAMILY

REDUCED = ("bfloat16", "float16")
# Two float32 programs of one model differ by more than either differs from float64. Measured: at
# most 2.5 times as much, over random models of all families (the median is 1.2) and SmolLM2-135M.
# A part that is missing and moves the logits by ten times as much is seen.
ROUNDINGS = 5.0
# For models so small that they hardly round: eight roundings of the largest logit by itself.
_FLOOR = 1e-6
_RESIDUAL_FLOOR = 1e-5


NO_REFERENCE = "none"


class _LogitErrors(NamedTuple):
    """How far our logits are from others'; the fields are those of `ParityRecord`."""

    difference: float | None = None
    prompt: int | None = None
    position: int | None = None
    token: int | None = None
    relative: float | None = None
    argmax_agreement: float | None = None


def verify(
    model: LanguageModel, *, n_prompts: int = 4, n_tokens: int | None = None, seed: int = 0
) -> ParityRecord:
    """Compare the model with others' own code on random prompts.

    The checkpoint is loaded once more: with transformers, or a state dict with transformer_lens. If
    that is not installed, or nobody else can run the model, what is checked is the residual law
    alone: embedding, writers and constants add up to the model's own residual stream. The record
    says which. The yardstick is the reference's own rounding: how far it is in float32 from itself
    in float64, on the same prompts.

    Args:
        n_tokens: length of the prompts; 32 if None, or the model's context if that is shorter.
            Windows and original contexts of this length or more are not tested; the record names
            them.

    Raises:
        ArgumentError: prompts longer than the model's context.
        ModelError: the reference cannot run the model, or numbers leave the precision's range.
    """
    tokens = _draw_tokens(model, n_prompts, n_tokens, seed)
    reference, inputs = find_reference(model), unpadded_inputs(tokens)
    theirs, rounding = _run_others(model, tokens) if reference is not None else (None, None)
    logits = _widen(run_everywhere(model.transformer, inputs))
    streams = _widen(run_streams(model.transformer, inputs)) if theirs is None else theirs.streams
    compared = {"our logits": logits, "the residual stream": streams}
    if theirs is not None:
        compared["the reference's logits"] = theirs.logits
    _check_finite(model, compared)
    residual = measure_residual_errors(model, inputs, streams)
    errors = _LogitErrors() if theirs is None else _compare_logits(logits, theirs.logits)
    largest = float(np.abs(logits if theirs is None else theirs.logits).max())
    return ParityRecord(
        reference=reference or NO_REFERENCE,
        precision=model.dtype,
        seed=seed,
        n_prompts=n_prompts,
        n_tokens=tokens.shape[1],
        difference=errors.difference,
        prompt=errors.prompt,
        position=errors.position,
        token=errors.token,
        largest_logit=largest,
        rounding=rounding.logits if rounding else None,
        allowed=_find_allowed(model.dtype, rounding, largest),
        relative=errors.relative,
        argmax_agreement=errors.argmax_agreement,
        residual=residual,
        untested=list_untested(model.spec, tokens.shape[1]),
        held=_is_within(model.dtype, errors, residual, rounding, largest),
        **_describe_proofs(model, reference),
    )


def _draw_tokens(
    model: LanguageModel, n_prompts: int, n_tokens: int | None, seed: int
) -> Int[np.ndarray, "batch pos"]:
    check_at_least("the number of prompts", n_prompts, 1)
    n_tokens = min(32, model.spec.n_ctx) if n_tokens is None else n_tokens
    check_at_least("the number of tokens", n_tokens, 1)
    if n_tokens > model.spec.n_ctx:
        raise ArgumentError(
            f"Prompts of {n_tokens} tokens do not fit into the model's context of "
            f"{model.spec.n_ctx}: choose fewer."
        )
    return np.random.default_rng(seed).integers(0, model.spec.d_vocab, (n_prompts, n_tokens))


def _compare_logits(ours: np.ndarray, theirs: np.ndarray) -> _LogitErrors:
    difference = np.abs(ours - theirs)
    prompt, position, token = np.unravel_index(np.argmax(difference), difference.shape)
    square = np.mean(difference**2) / max(np.mean(theirs**2), SMALLEST_DIVISOR)
    same = (ours.argmax(-1) == theirs.argmax(-1)).mean()
    place = int(prompt), int(position), int(token)
    return _LogitErrors(float(difference.max()), *place, float(np.sqrt(square)), float(same))


def _run_others(
    model: LanguageModel, tokens: Int[np.ndarray, "batch pos"]
) -> tuple[Reference, Rounding | None]:
    """Others' run, and how their float32 rounds; 16-bit precisions have a limit of their own."""
    if model.dtype in REDUCED:
        return run_reference(model, tokens), None
    return run_reference_twice(model, tokens)


def _find_allowed(dtype: str, rounding: Rounding | None, largest: float) -> float | None:
    """How far a logit may be from others'; None where no logit is compared by itself."""
    if dtype in REDUCED or rounding is None:
        return None
    return max(ROUNDINGS * rounding.logits, _FLOOR, _FLOOR * largest)


def _is_within(
    dtype: str,
    errors: _LogitErrors,
    residual: list[float],
    rounding: Rounding | None,
    largest: float,
) -> bool:
    """Whether what was compared is as near as `ParityRecord` says."""
    if dtype in REDUCED:
        return (max(residual) if errors.relative is None else errors.relative) <= 2e-2
    allowed = _find_allowed(dtype, rounding, largest)
    if errors.difference is not None and allowed is not None and errors.difference > allowed:
        return False
    roundings = rounding.streams if rounding else (0.0,) * len(residual)
    return all(
        error <= max(_RESIDUAL_FLOOR, ROUNDINGS * theirs)
        for error, theirs in zip(residual, roundings, strict=True)
    )


def _describe_proofs(model: LanguageModel, reference: str | None) -> dict[str, list[str]]:
    """What is compared, and what is not, in words."""
    law = "embedding, writers and constants add up to the residual stream of {}, before each layer"
    law += " and after the last"
    if reference is not None:
        proofs = [f"the logits are those of {reference}", law.format(reference)]
        return {"proofs": proofs, "not_proved": list_not_proved(model)}
    why = "nobody else's code runs this model"
    if model.family == FAMILY:
        why = f"transformer_lens, which runs state dicts too, is not installed ({INSTALL})"
    return {
        "proofs": [law.format("our own forward pass")],
        "not_proved": [f"that the logits are those of other code: {why}"],
    }


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
    values = _widen(run_writers(model.transformer, inputs).nodes)  # [writers, batch, pos, d]
    constants = np.cumsum(_widen(model.transformer.blocks.attention.constant), axis=0)
    layers = np.array([writer.node.layer for writer in model.graph().writers])
    errors, total = [], np.zeros_like(streams[0])
    for layer, stream in enumerate(streams):
        total = total + values[layers == layer - 1].sum(0)
        ours = total + (constants[layer - 1] if layer else 0.0)
        errors.append(measure_relative_error(ours, stream))
    return errors


def _widen(array: object) -> np.ndarray:
    return np.asarray(to_float32(jnp.asarray(array)))
