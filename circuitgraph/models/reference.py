"""The same checkpoint run by others' code: the model that ours is compared with."""

from __future__ import annotations

from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.errors import ModelError
from circuitgraph.models.double_precision import compute_in_float64
from circuitgraph.models.families import families
from circuitgraph.models.gguf.loading import is_gguf
from circuitgraph.models.gguf.reference import list_gguf_not_proved, load_gguf_reference
from circuitgraph.models.hooked_reference import (
    INSTALL,
    find_hooked_transformer,
    run_hooked_transformer,
)
from circuitgraph.models.hub import quiet_transformers
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer_lens_checkpoint import FAMILY

SMALLEST_DIVISOR = float(np.finfo(np.float32).tiny)


class Reference(NamedTuple):
    """One forward pass of others' own model, in float32 whatever it ran in.

    Attributes:
        streams: the residual stream before each layer, and after the last.
    """

    logits: Float[np.ndarray, "batch pos vocab"]
    streams: Float[np.ndarray, "layers_and_one batch pos d"]


class Rounding(NamedTuple):
    """How far others' own model in float32 is from itself in float64, on the same prompts.

    Attributes:
        logits: largest difference of a logit.
        streams: of each stream of a `Reference`, relative to its largest number.
    """

    logits: float
    streams: tuple[float, ...]


def measure_relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest number of the second."""
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), SMALLEST_DIVISOR))


def find_reference(model: LanguageModel) -> str | None:
    """Whose code can run the checkpoint too, with its version; None if nobody's can.

    That is transformers for a checkpoint in Hugging Face layout, and transformer_lens, if it is
    installed, for a state dict.
    """
    if model.family == FAMILY:
        return find_hooked_transformer()
    if _is_hugging_face(model):
        return f"transformers {metadata.version('transformers')}, eager"
    return None


def list_not_proved(model: LanguageModel) -> list[str]:
    """What a comparison with the reference leaves open, in words."""
    path = Path(model.location)
    if model.family == FAMILY or not is_gguf(path):
        return []
    with quiet_transformers():
        return list_gguf_not_proved(path)


def run_reference(
    model: LanguageModel, tokens: Int[np.ndarray, "batch pos"], *, dtype: str | None = None
) -> Reference:
    """Run others' model of the same checkpoint on full-length prompts, positions given.

    Args:
        dtype: precision; the model's own if None.

    Raises:
        ModelError: there is nobody else's code for the model, see `find_reference`.
    """
    if model.family == FAMILY:
        return _run_hooked(model, tokens, dtype or model.dtype)
    with quiet_transformers():
        return _run_transformers(load_reference(model, dtype or model.dtype), model, tokens)


def run_reference_twice(
    model: LanguageModel, tokens: Int[np.ndarray, "batch pos"]
) -> tuple[Reference, Rounding]:
    """As `run_reference`, in the model's own precision, float32 or float64, and how it rounds.

    transformers' model is in memory once: of the run in float64, one module at a time is widened.
    """
    if model.family == FAMILY:
        single, double = (_run_hooked(model, tokens, dtype) for dtype in ("float32", "float64"))
    else:
        with quiet_transformers():
            reference = load_reference(model, "float32")
            single = _run_transformers(reference, model, tokens)
            with compute_in_float64(reference):
                double = _run_transformers(reference, model, tokens)
    streams = zip(single.streams, double.streams, strict=True)
    rounding = Rounding(
        float(np.abs(single.logits - double.logits).max()),
        tuple(measure_relative_error(one, other) for one, other in streams),
    )
    return (double if model.dtype == "float64" else single), rounding


def _run_hooked(
    model: LanguageModel, tokens: Int[np.ndarray, "batch pos"], dtype: str
) -> Reference:
    """One run of a state dict by transformer_lens."""
    import torch

    if find_hooked_transformer() is None:
        raise ModelError(
            f"{model.name!r} is a state dict, which transformer_lens could run, but that is "
            f"not installed: {INSTALL}."
        )
    given = torch.tensor(np.asarray(tokens)).long()
    theirs, streams = run_hooked_transformer(model, given, dtype)
    return Reference(_to_numpy(theirs), np.stack([_to_numpy(stream) for stream in streams]))


def _run_transformers(
    reference: Any, model: LanguageModel, tokens: Int[np.ndarray, "batch pos"]
) -> Reference:
    """One run of transformers' model."""
    import torch

    streams: list[Any] = []
    layers = _find_layers(reference, model.spec.n_layers)
    hooks = [
        layer.register_forward_pre_hook(_note_input(streams), with_kwargs=True) for layer in layers
    ]
    hooks.append(layers[-1].register_forward_hook(_note_output(streams)))
    with torch.no_grad():
        arguments: dict[str, Any] = {
            "input_ids": torch.tensor(np.asarray(tokens)).long(),
            "use_cache": False,
            "return_dict": True,
        }
        if "position_ids" in signature(reference.forward).parameters:  # BLOOM takes none
            arguments["position_ids"] = torch.arange(tokens.shape[1]).expand(*tokens.shape)
        logits = reference(**arguments).logits
    for hook in hooks:
        hook.remove()
    return Reference(_to_numpy(logits), np.stack([_to_numpy(stream) for stream in streams]))


def load_reference(model: LanguageModel, dtype: str) -> Any:
    """Transformers' own model, with plain eager attention where that is right.

    Its weights are read by transformers too, those of a GGUF file by its loader of such files.

    Raises:
        ModelError: the model is no checkpoint in Hugging Face layout.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not _is_hugging_face(model):
        raise ModelError(
            f"{model.name!r} is no checkpoint in Hugging Face layout: transformers cannot run it, "
            "so there is nothing to compare with."
        )
    path = Path(model.location)
    if is_gguf(path):
        return load_gguf_reference(path, dtype, families[model.family].reference_attention)
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": model.location,
        "revision": model.revision or "main",
        "local_files_only": True,
        # The comparison is with transformers' code, whatever code a checkpoint brings along.
        "trust_remote_code": False,
    }
    config = AutoConfig.from_pretrained(**source)
    reference = AutoModelForCausalLM.from_pretrained(
        **source,
        attn_implementation=families[model.family].configured(config.to_dict()).reference_attention,
        dtype=getattr(torch, dtype),
    ).eval()
    if model.spec.experts is not None:  # the fast way with experts has no float64
        reference.set_experts_implementation("eager")
    return reference


def _is_hugging_face(model: LanguageModel) -> bool:
    """Whether the model is a checkpoint of a folder or of the hub, or a GGUF file."""
    path = Path(model.location)
    is_there = path.is_dir() or is_gguf(path) or model.revision is not None
    return model.family in families and model.family != FAMILY and is_there


def _find_layers(reference: Any, n_layers: int) -> Any:
    """The list of layers: the first list of that many modules in the decoder."""
    from torch.nn import ModuleList

    decoder = reference.get_decoder()
    return next(m for m in decoder.modules() if isinstance(m, ModuleList) and len(m) == n_layers)


def _note_input(streams: list[Any]) -> Any:
    def note_input(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        streams.append(args[0] if args else kwargs["hidden_states"])

    return note_input


def _note_output(streams: list[Any]) -> Any:
    def note_output(_module: Any, _args: Any, output: Any) -> None:
        streams.append(output[0] if isinstance(output, tuple) else output)

    return note_output


def _to_numpy(tensor: Any) -> np.ndarray:
    import torch

    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).numpy(force=True)
