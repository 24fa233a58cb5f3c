"""Checkpoints of TransformerLens: a state dict in one file, and a HookedTransformerConfig beside
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError, first_line, list_problems
from circuitgraph.models.assemble import assemble, check_dtype
from circuitgraph.models.checkpoint import AGAIN, Checkpoint, open_checkpoint
from circuitgraph.models.families import families
from circuitgraph.models.families.transformer_lens import family_for
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec

FAMILY = "transformer_lens"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_WRAPPERS = ("state_dict", "model")
_IGNORED = -1e4  # a score of this or less leaves no weight
_COMPARED = 1024  # positions of a rotary table; later ones are as exact as float32 angles are, which is not very


@dataclass
class _StateDict(Checkpoint):
    """A checkpoint of which some tensors are in memory: all of a torch file, and those that we
    make.
    """

    at_hand: dict[str, Any] = field(default_factory=dict)

    def read(self, tensor: str) -> Any:
        return self.at_hand[tensor] if tensor in self.at_hand else super().read(tensor)

    def put(self, tensor: str, value: Any) -> None:
        """Add or replace a tensor."""
        self.at_hand[tensor] = value
        self.shapes[tensor], self.dtypes[tensor] = (
            tuple(value.shape),
            str(value.dtype).removeprefix("torch."),
        )


def is_state_dict(path: Path) -> bool:
    """Whether this is a file of weights by itself, not one of those in a folder in Hugging Face
    layout.
    """
    if path.suffix not in SUFFIXES:
        return False
    try:
        if not path.expanduser().is_file():
            return False
    except (OSError, RuntimeError):  # a name too long, somebody's home that is not here
        return False
    with suppress(OSError, ValueError, TypeError):
        return "model_type" not in json.loads(
            (path.expanduser().parent / "config.json").read_text(encoding="utf-8")
        )
    return True


def state_dict_in(folder: Path) -> Path | None:
    """The first state dict of a folder that has the configuration of a HookedTransformer beside it."""
    for path in sorted(folder.iterdir()):
        for beside in _beside(path) if is_state_dict(path) else ():
            with suppress(OSError, ValueError, TypeError):
                if "d_model" in json.loads(beside.read_text(encoding="utf-8")):
                    return path
    return None


def load_transformer_lens(
    weights: str | Path,
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    dtype: str = "float32",
) -> LanguageModel:
    """Load a HookedTransformer.

    Args:
        weights: its state dict, saved by torch (``.pt``, ``.pth``, ``.bin``) or as
            ``.safetensors``; one that torch saved may be wrapped, ``{"state_dict": ...}`` or
            ``{"model": ...}``.
        config: the fields of its HookedTransformerConfig, or a JSON file of them; by default the
            JSON file of the same name, or else config.json or cfg.json, in the same folder.
            ``masked_token`` is a field of ours: a token that attention never looks at.
        dtype: precision to run in, whatever the file has.

    Raises:
        ModelError: a file is not found or not readable, or a setting cannot be reproduced exactly.
    """
    check_dtype(dtype)
    if Path(weights).suffix not in SUFFIXES:
        raise ModelError(
            f"{str(weights)!r} is no state dict: its name must end in one of {', '.join(SUFFIXES)}."
        )
    path = _file(weights)
    if path is None:
        raise ModelError(f"There is no file {str(weights)!r}.")
    settings = {"model_type": FAMILY, **_config(path, config)}
    families[FAMILY].check(settings)
    family = family_for(settings)
    spec = family.spec(settings)
    checkpoint = _opened(str(weights), path)
    _check_buffers(checkpoint, spec)
    if spec.gated:
        _fold_gated_bias(checkpoint, spec)
    return LanguageModel(
        name=str(weights),
        family=FAMILY,
        location=str(path),
        revision=None,
        transformer=assemble(spec, family, checkpoint, dtype),
        tokenizer=None,
    )


def _config(weights: Path, given: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    tried = _beside(weights) if given is None else [Path(given)]
    path = next((path for path in map(_file, tried) if path is not None), None)
    if path is None:
        looked = " or ".join(path.name for path in tried)
        raise ModelError(
            f"There is no {looked} in {str(tried[0].parent)!r}. Give the HookedTransformerConfig of "
            f"{weights.name} as a JSON file or as a mapping."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r} is not readable JSON: {first_line(error)}. {AGAIN}"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(
            f"{str(path)!r} holds a {type(found).__name__}, not the fields of a "
            "HookedTransformerConfig."
        )
    return found


def _beside(weights: Path) -> list[Path]:
    """Where the configuration of a state dict usually is."""
    return [
        weights.with_suffix(".json"),
        weights.with_name("config.json"),
        weights.with_name("cfg.json"),
    ]


def _file(name: str | Path) -> Path | None:
    """The file of this name, None if there is none."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError) as error:  # a name too long, somebody's home that is not here
        raise ModelError(f"{str(name)!r} cannot be looked up: {first_line(error)}.") from error


def _opened(name: str, path: Path) -> _StateDict:
    """The tensors of a file, out of their wrapper if they are in one."""
    import torch

    checkpoint = open_checkpoint(name, [path])  # which refuses pickles that would run code
    if path.suffix == ".safetensors":
        return _StateDict(**vars(checkpoint))
    content = torch.load(path, map_location="cpu", weights_only=True)
    wrapped = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    content = wrapped[0] if wrapped else content
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors and all(
        key.startswith("model.") for key in tensors
    ):  # a training loop's module around the model
        tensors = {key.removeprefix("model."): value for key, value in tensors.items()}
    found = _StateDict(name, {}, {}, {})
    for key, value in tensors.items():
        found.put(key, value)
    return found


def _check_buffers(checkpoint: _StateDict, spec: Spec) -> None:
    """Refuse tensors that our forward pass does without, where it could not do without them."""
    problems = []
    for layer in range(spec.n_layers):
        for name, agrees in _expected(checkpoint, spec, layer):
            tensor = f"blocks.{layer}.attn.{name}"
            if tensor in checkpoint.shapes and not agrees(checkpoint.read(tensor)):
                problems.append(tensor)
    if problems:
        raise ModelError(
            list_problems(
                f"The weights of {checkpoint.name!r} hold tensors with other content than the "
                "configuration makes, which cannot be reproduced:",
                problems,
            )
        )


def _expected(checkpoint: _StateDict, spec: Spec, layer: int) -> Iterator[tuple[str, Any]]:
    """Names of tensors beside the weights, and what must hold of each."""
    import torch

    if spec.causal:
        window = spec.windows[layer] if spec.windows else None
        yield "mask", lambda mask: _is_causal(mask, window)
        yield "IGNORE", lambda value: bool((value <= _IGNORED).all())
    if spec.post_norm is not None:  # this bias would go through the norm, ours is added after it
        yield "b_O", lambda bias: not bias.any()
    if spec.ropes:
        index = spec.rope_of_layer[layer]
        rope = spec.ropes[0 if index is None else index]
        frequencies = torch.tensor(rope.frequencies, dtype=torch.float64)
        twice = (
            frequencies.repeat(2)
            if spec.rope_pairs == "halves"
            else frequencies.repeat_interleave(2)
        )
        for name, wave in (("rotary_cos", torch.cos), ("rotary_sin", torch.sin)):

            def agrees(table: Any, wave: Any = wave) -> bool:
                if table.ndim != 2 or table.shape[1] != len(twice):
                    return False
                table = table[:_COMPARED]
                turns = (
                    wave(torch.arange(len(table), dtype=torch.float64)[:, None] * twice)
                    * rope.factor
                )
                rounding = 1e-3 if table.dtype in (torch.float32, torch.float64) else 1e-2
                return bool(torch.allclose(table.double(), turns, atol=rounding, rtol=0))

            yield name, agrees


def _is_causal(mask: Any, window: int | None) -> bool:
    """Whether a mask lets each position see itself and what was before it, as far back as the
    window goes.

    TransformerLens 3 stores an empty one.
    """
    import torch

    if mask.numel() == 0:
        return True
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    expected = torch.ones(mask.shape, dtype=torch.bool).tril()
    if window is not None:
        expected = expected.triu(1 - window)
    return bool((mask.bool() == expected).all())


def _fold_gated_bias(checkpoint: _StateDict, spec: Spec) -> None:
    """Make b_in part of b_out: TransformerLens adds it behind the gate, to ``activation(gate) *
    in``, not to ``in``.
    """
    import torch

    for layer in range(spec.n_layers):
        b_in, w_out, b_out = (f"blocks.{layer}.mlp.{name}" for name in ("b_in", "W_out", "b_out"))
        shapes = [checkpoint.shapes.get(name) for name in (b_in, w_out, b_out)]
        checkpoint.put(f"blocks.{layer}.mlp.b_gate", torch.zeros(spec.d_mlp or 0))
        if shapes == [
            (spec.d_mlp,),
            (spec.d_mlp, spec.d_model),
            (spec.d_model,),
        ]:  # or `assemble` says what is wrong
            behind = checkpoint.read(b_in).double() @ checkpoint.read(w_out).double()
            checkpoint.put(b_out, checkpoint.read(b_out).double() + behind)
            checkpoint.put(b_in, torch.zeros(spec.d_mlp or 0))
