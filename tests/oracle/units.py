"""MLPs cut into neurons: each neuron's own part of what the MLP writes, and the rest."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Module

Parts = dict[int, list[int]]
"""The neurons that are nodes of their own, by layer."""


def part_names(parts: Parts) -> dict[str, list[str]]:
    """The writers that each split MLP consists of, in forward order."""
    return {
        f"m{layer}": [*(f"m{layer}.n{neuron}" for neuron in sorted(neurons)), f"m{layer}.rest"]
        for layer, neurons in parts.items()
    }


def split_mlp(
    model: Any, layer: int, neurons: list[int], run_mlp: Callable[[], Tensor]
) -> dict[str, Tensor]:
    """What each part of an MLP adds to the stream, watched in Hugging Face's own modules."""
    seen: dict[str, Tensor] = {}

    def note(_: Module, args: tuple[Tensor], out: Tensor) -> None:
        seen.update(hidden=args[0], out=out)

    module = _down_projection(model, layer)
    handle = module.register_forward_hook(note)
    whole = run_mlp()
    handle.remove()
    is_linear = module.weight.shape[1] == seen["hidden"].shape[-1]
    rows = module.weight.T if is_linear else module.weight  # GPT-2's layers lie the other way
    # a post-norm and a multiplier multiply all that is written, whatever by
    factor = whole / seen["out"]
    values = {
        f"m{layer}.n{neuron}": seen["hidden"][..., neuron, None] * rows[neuron] * factor
        for neuron in sorted(neurons)
    }
    return values | {f"m{layer}.rest": whole - sum(values.values())}


def _down_projection(model: Any, layer: int) -> Any:
    base, family = model.base_model, model.config.model_type
    if family == "gpt2":
        return base.h[layer].mlp.c_proj
    mlp = base.layers[layer].mlp
    return mlp.dense_4h_to_h if family == "gpt_neox" else mlp.down_proj
