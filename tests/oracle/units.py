"""MLPs cut into neurons, or into features of a dictionary: what each part writes, and the rest."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import Module


@dataclass(frozen=True)
class FeatureParts:
    """A dictionary: ``relu(w_enc x + b_enc)`` of what it reads, and what its features write.

    Attributes:
        indices: the features that are nodes of their own.
        reads_output: it reads what the MLP adds to the stream; else the input of its module.
    """

    indices: list[int]
    reads_output: bool
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    frozen: bool = False  # the error is that of the clean run

    def take_apart(self, layer: int, read: Tensor, whole: Tensor) -> dict[str, Tensor]:
        weights = (w.to(whole.dtype) for w in (self.w_enc, self.b_enc, self.w_dec, self.b_dec))
        w_enc, b_enc, w_dec, b_dec = weights
        features = (read @ w_enc.T + b_enc).clamp(min=0)
        values = {
            f"m{layer}.f{feature}": features[..., feature, None] * w_dec[feature]
            for feature in sorted(self.indices)
        }
        written = features @ w_dec + b_dec
        rest = written - sum(values.values())
        return {**values, f"m{layer}.rest": rest, f"m{layer}.error": whole - written}


Parts = Mapping[int, list[int] | FeatureParts]
"""The neurons (or features) that are nodes of their own, by layer."""


def part_names(parts: Parts) -> dict[str, list[str]]:
    """The writers that each split MLP consists of, in forward order."""
    return {f"m{layer}": _list_names(f"m{layer}", chosen) for layer, chosen in parts.items()}


def _list_names(mlp: str, chosen: list[int] | FeatureParts) -> list[str]:
    if isinstance(chosen, FeatureParts):
        return [*(f"{mlp}.f{i}" for i in sorted(chosen.indices)), f"{mlp}.rest", f"{mlp}.error"]
    return [*(f"{mlp}.n{neuron}" for neuron in sorted(chosen)), f"{mlp}.rest"]


def read_apart(name: str, parts: Parts, own: Collection[int]) -> list[str]:
    """The readers that stand for one: an MLP whose units have inputs of their own has several."""
    layer = next((layer for layer in own if name == f"m{layer}"), None)
    if layer is None:
        return [name]
    return [*(n for n in part_names(parts)[name] if ".n" in n or ".f" in n), name]


def split_mlp(
    model: Any, layer: int, chosen: list[int] | FeatureParts, run_mlp: Callable[[], Tensor]
) -> dict[str, Tensor]:
    """What each part of an MLP adds to the stream, watched in Hugging Face's own modules."""
    if isinstance(chosen, FeatureParts):
        return _split_by_features(model, layer, chosen, run_mlp)
    return _split_by_neurons(model, layer, chosen, run_mlp)


def _split_by_features(
    model: Any, layer: int, chosen: FeatureParts, run_mlp: Callable[[], Tensor]
) -> dict[str, Tensor]:
    inputs: list[Tensor] = []
    base = model.base_model
    module = (base.h if hasattr(base, "h") else base.layers)[layer].mlp
    handle = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    whole = run_mlp()
    handle.remove()
    return chosen.take_apart(layer, whole if chosen.reads_output else inputs[0], whole)


def _split_by_neurons(
    model: Any, layer: int, neurons: list[int], run_mlp: Callable[[], Tensor]
) -> dict[str, Tensor]:
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
