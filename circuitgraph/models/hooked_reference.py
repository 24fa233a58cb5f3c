"""A state dict run by TransformerLens's own HookedTransformer, where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError, first_line, list_problems
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.transformer_lens_checkpoint import read_state_dict

INSTALL = "pip install 'transformer-lens<4'"  # version 4 has no HookedTransformer any more
_NOT_TAKEN = ("seed", "tokenizer_name", "device", "n_devices", "dtype")  # we decide these

Hooks = list[tuple[str, Callable[..., Any]]]


def find_hooked_transformer() -> str | None:
    """The name and version of the library that has a HookedTransformer; None if there is none."""
    try:
        from transformer_lens import (  # pyright: ignore[reportMissingImports]
            HookedTransformer,  # noqa: F401
        )
    except ImportError:
        return None
    try:
        return f"transformer_lens {metadata.version('transformer-lens')}, HookedTransformer"
    except metadata.PackageNotFoundError:
        return "transformer_lens, HookedTransformer"


def run_hooked_transformer(model: LanguageModel, tokens: Any, dtype: str) -> tuple[Any, list[Any]]:
    """Logits, and the residual stream before each layer and after the last, as torch has them.

    The settings that are ours are hooks: a masked token, and the attention rate.

    Raises:
        ModelError: the state dict does not fit HookedTransformer.
    """
    import torch

    hooked = load_hooked_transformer(model, dtype)
    streams: list[Any] = []

    def note_stream(value: Any, hook: Any) -> None:
        del hook
        streams.append(value)

    n_layers = model.spec.n_layers
    hooks: Hooks = [(f"blocks.{i}.hook_resid_pre", note_stream) for i in range(n_layers)]
    hooks.append((f"blocks.{n_layers - 1}.hook_resid_post", note_stream))
    hooks += _make_attention_hooks(model, tokens)
    with torch.no_grad():
        logits = hooked.run_with_hooks(tokens, return_type="logits", fwd_hooks=hooks)
    return logits, streams


def load_hooked_transformer(model: LanguageModel, dtype: str) -> Any:
    """HookedTransformer with the weights of a state dict; biases that it lacks are zero."""
    import torch
    from transformer_lens import (  # pyright: ignore[reportMissingImports]
        HookedTransformer,
        HookedTransformerConfig,
    )

    known = {each.name for each in fields(HookedTransformerConfig)} - set(_NOT_TAKEN)
    options = {name: value for name, value in (model.settings or {}).items() if name in known}
    try:
        hooked = HookedTransformer(
            HookedTransformerConfig(**options, device="cpu", dtype=getattr(torch, dtype))
        )
    except Exception as error:
        raise ModelError(
            f"HookedTransformer does not take the configuration of {model.name!r}: "
            f"{first_line(error)}"
        ) from error
    checkpoint, _ = read_state_dict(model.name, Path(model.location), model.settings or {})
    theirs = hooked.state_dict()
    weights = {key: checkpoint.read_tensor(key) for key in checkpoint.shapes if key in theirs}
    parameters = {key for key, _ in hooked.named_parameters()}
    for key, value in theirs.items():
        if key not in parameters:  # masks, rotary tables: our loader has checked the file's
            weights[key] = value
        elif key not in weights and key.rsplit(".", 1)[1].startswith("b_"):
            weights[key] = torch.zeros_like(value)
    try:
        hooked.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            list_problems(
                f"HookedTransformer does not take the weights of {model.name!r}:",
                str(error).splitlines()[1:],
            )
        ) from error
    return hooked.eval()


def _make_attention_hooks(model: LanguageModel, tokens: Any) -> Hooks:
    """What HookedTransformer does not know: a token that nobody looks at, the attention rate."""
    import torch

    unseen, rate = model.spec.unseen_token, model.spec.attn_rate
    visible: dict[str, Any] = {}

    def hide_unseen(scores: Any, hook: Any) -> Any:
        if unseen is not None:
            scores = scores.masked_fill((tokens == unseen)[:, None, None, :], -torch.inf)
        visible[hook.name.rsplit(".", 1)[0]] = torch.isfinite(scores)
        return scores

    def blend_pattern(pattern: Any, hook: Any) -> Any:
        return torch.where(
            visible[hook.name.rsplit(".", 1)[0]], pattern * rate + (1 - rate), torch.zeros(())
        ).to(pattern.dtype)

    hooks: Hooks = []
    for layer in range(model.spec.n_layers):
        if unseen is not None or rate != 1.0:
            hooks.append((f"blocks.{layer}.attn.hook_attn_scores", hide_unseen))
        if rate != 1.0:
            hooks.append((f"blocks.{layer}.attn.hook_pattern", blend_pattern))
    return hooks
