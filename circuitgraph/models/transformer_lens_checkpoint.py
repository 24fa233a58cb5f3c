"""Checkpoints of TransformerLens: a state dict in one file, a HookedTransformerConfig beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from circuitgraph.errors import ModelError, first_line, list_problems
from circuitgraph.foreign import LARGEST_CONFIG, read_json
from circuitgraph.models.assemble import assemble_transformer, check_dtype
from circuitgraph.models.checkpoint import SAVE_AGAIN
from circuitgraph.models.families import Family, families
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.sizes import check_counts, check_held, explain_values
from circuitgraph.models.spec import Rope, Spec
from circuitgraph.models.state_dict import StateDict, open_state_dict
from circuitgraph.models.state_dict_layout import (
    LAYOUTS,
    drop_biases,
    rename_tensors,
    turn_matrices,
)
from circuitgraph.models.token_names import OUTPUTS, check_names
from circuitgraph.models.tokenizer import Tokenizer, read_tokenizer

FAMILY = "transformer_lens"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_LEAST_SCORE = -1e4  # a score of this or less leaves no weight in the softmax
# Positions of a rotary table that are compared. At later positions the table's own float32 angles
# are too inexact to compare.
_N_COMPARED = 1024


def is_state_dict(path: Path) -> bool:
    """Whether this is a file of weights by itself, not one in a folder in Hugging Face layout."""
    if path.suffix not in SUFFIXES:
        return False
    try:
        path = path.expanduser()
        if not path.is_file():
            return False
    except (OSError, RuntimeError):  # a name too long, somebody's home that is not here
        return False
    return not _json_has_field(path.with_name("config.json"), "model_type")


def find_state_dict(folder: Path) -> Path | None:
    """The first state dict in a folder with the configuration of a HookedTransformer beside it."""
    for path in sorted(folder.iterdir()):
        if is_state_dict(path) and any(_json_has_field(p, "d_model") for p in _config_paths(path)):
            return path
    return None


def _json_has_field(path: Path, name: str) -> bool:
    with suppress(OSError, ValueError, TypeError):
        return name in read_json(path, LARGEST_CONFIG)
    return False


def load_transformer_lens(
    weights: str | Path,
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    dtype: str = "float32",
    weight_mesh: Mesh | None = None,
) -> LanguageModel:
    """Load a HookedTransformer, or a small model whose state dict is like one's.

    The tokenizer is the tokenizer.json beside the weights, if there is one.

    Args:
        weights: its state dict, saved by torch (``.pt``, ``.pth``, ``.bin``) or as
            ``.safetensors``; one that torch saved may be wrapped, ``{"state_dict": ...}`` or
            ``{"model": ...}``. Matrices may lie the other way round and biases may be missing, see
            `circuitgraph.models.state_dict_layout`.
        config: the fields of its HookedTransformerConfig, or a JSON file of them; by default the
            JSON file of the same name, or else config.json or cfg.json, in the same folder. Fields
            of ours: ``masked_token``, a token that attention never looks at; ``attn_coeff``, the
            attention rate of Zhong et al. 2023; ``vocab`` and ``output_vocab``, the names of tokens
            and of output classes by id; ``layout``, how square matrices lie.
        dtype: precision to run in, whatever the dtype in the file.
        weight_mesh: devices that each weight is cut over.

    Raises:
        ModelError: a file is not found or not readable, or a setting cannot be reproduced exactly.
    """
    check_dtype(dtype)
    if Path(weights).suffix not in SUFFIXES:
        raise ModelError(
            f"{str(weights)!r} is no state dict: its name must end in one of "
            f"{', '.join(SUFFIXES)}. Only one of these takes a configuration (--model-config)."
        )
    path = _find_file(weights)
    if path is None:
        raise ModelError(f"There is no file {str(weights)!r}.")
    settings = {"model_type": FAMILY, **_read_config(path, config)}
    names = {field: settings.pop(field, None) for field in ("vocab", "output_vocab")}
    with explain_values(str(weights)):
        check_counts(settings, file="the HookedTransformerConfig")
        checkpoint, spec = read_state_dict(str(weights), path, settings)
    vocab = check_names("vocab", names["vocab"], spec.d_vocab, "tokens")
    outputs = check_names("output_vocab", names["output_vocab"], spec.d_vocab_out, OUTPUTS)
    family = _family_of(settings)
    _check_buffers(checkpoint, spec)
    if spec.gated and spec.mlp_bias:
        _fold_gated_bias(checkpoint, spec)
    return LanguageModel(
        name=str(weights),
        family=FAMILY,
        location=str(path),
        revision=None,
        transformer=assemble_transformer(spec, family, checkpoint, dtype, weight_mesh),
        tokenizer=_read_tokenizer_beside(path, spec),
        vocab=vocab,
        output_vocab=outputs,
        settings=settings,
    )


def read_state_dict(name: str, path: Path, settings: Mapping[str, Any]) -> tuple[StateDict, Spec]:
    """The tensors of a file as TransformerLens names and lays them, and what model they make.

    Args:
        settings: the configuration, without the names of tokens.
    """
    spec = _family_of(settings).spec(_drop_layout(settings))
    layout = settings.get("layout")
    if layout not in (None, *LAYOUTS):
        raise ModelError(f"layout = {layout!r}; known are {' and '.join(LAYOUTS)}.")
    checkpoint = open_state_dict(name, path)
    check_held(spec, checkpoint)
    rename_tensors(checkpoint)
    was_transposed = turn_matrices(checkpoint, spec, layout)
    return checkpoint, drop_biases(checkpoint, spec, any_kind=was_transposed)


def _family_of(settings: Mapping[str, Any]) -> Family:
    """The family as this configuration has it, which is checked."""
    settings = _drop_layout(settings)
    families[FAMILY].check(settings)
    return families[FAMILY].configured(settings)


def _drop_layout(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in settings.items() if field != "layout"}


def _read_tokenizer_beside(weights: Path, spec: Spec) -> Tokenizer | None:
    """The tokenizer.json in the folder of the weights; None if there is none."""
    folder = weights.parent
    if not (folder / "tokenizer.json").is_file():
        return None
    tokenizer = read_tokenizer(str(folder), {"local_files_only": True})
    if tokenizer is not None and len(tokenizer) > spec.d_vocab:
        raise ModelError(
            f"The tokenizer.json beside {weights.name} has {len(tokenizer)} tokens, but the model "
            f"reads {spec.d_vocab}: it is another model's. Move it out of {str(folder)!r}."
        )
    return tokenizer


def _read_config(weights: Path, config: str | Path | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    candidates = _config_paths(weights) if config is None else [Path(config)]
    path = next((path for path in map(_find_file, candidates) if path is not None), None)
    if path is None:
        names = " or ".join(path.name for path in candidates)
        raise ModelError(
            f"There is no {names} in {str(candidates[0].parent)!r}. Give the "
            f"HookedTransformerConfig of {weights.name} as a JSON file or as a mapping."
        )
    try:
        settings = read_json(path, LARGEST_CONFIG)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{str(path)!r} is not readable JSON: {first_line(error)}. {SAVE_AGAIN}"
        ) from error
    if not isinstance(settings, dict):
        raise ModelError(
            f"{str(path)!r} holds a {type(settings).__name__}, not the fields of a "
            "HookedTransformerConfig."
        )
    return settings


def _config_paths(weights: Path) -> list[Path]:
    """Where the configuration of a state dict usually is."""
    return [
        weights.with_suffix(".json"),
        weights.with_name("config.json"),
        weights.with_name("cfg.json"),
    ]


def _find_file(name: str | Path) -> Path | None:
    """The file of this name, None if there is none."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError) as error:  # a name too long, somebody's home that is not here
        raise ModelError(f"{str(name)!r} cannot be looked up: {first_line(error)}.") from error


def _check_buffers(checkpoint: StateDict, spec: Spec) -> None:
    """Refuse tensors beside the weights whose content our forward pass would not reproduce."""
    different = []
    for layer in range(spec.n_layers):
        for name, is_expected in _list_buffer_checks(spec, layer):
            tensor = f"blocks.{layer}.attn.{name}"
            if tensor in checkpoint.shapes and not is_expected(checkpoint.read_tensor(tensor)):
                different.append(tensor)
    if different:
        raise ModelError(
            list_problems(
                f"The weights of {checkpoint.name!r} hold tensors with other content than the "
                "configuration makes, which cannot be reproduced:",
                different,
            )
        )


def _list_buffer_checks(spec: Spec, layer: int) -> Iterator[tuple[str, Callable[[Any], bool]]]:
    """Names of a layer's tensors beside the weights, and what must hold of each tensor."""
    if spec.causal:
        window = spec.windows[layer] if spec.windows else None
        yield "mask", lambda mask: _is_causal(mask, window)
        yield "IGNORE", lambda value: bool((value <= _LEAST_SCORE).all())
    if spec.post_norm is not None:  # this bias would go through the norm, ours is added after it
        yield "b_O", lambda bias: not bias.any()
    if spec.ropes:
        index = spec.rope_of_layer[layer]
        rope = spec.ropes[0 if index is None else index]
        yield "rotary_cos", lambda table: _is_rotary(table, "cos", rope, spec.rope_pairs)
        yield "rotary_sin", lambda table: _is_rotary(table, "sin", rope, spec.rope_pairs)


def _is_rotary(table: Any, wave: str, rope: Rope, pairs: str) -> bool:
    """Whether a table [position, dimension] holds the cosines or sines of a rotary embedding."""
    import torch

    frequencies = torch.tensor(rope.frequencies, dtype=torch.float64)
    # Each frequency serves two dimensions.
    per_dimension = frequencies.repeat(2) if pairs == "halves" else frequencies.repeat_interleave(2)
    if table.ndim != 2 or table.shape[1] != len(per_dimension):
        return False
    table = table[:_N_COMPARED]
    angles = torch.arange(len(table), dtype=torch.float64)[:, None] * per_dimension
    rounding = 1e-3 if table.dtype in (torch.float32, torch.float64) else 1e-2
    expected = getattr(torch, wave)(angles) * rope.factor
    return bool(torch.allclose(table.double(), expected, atol=rounding, rtol=0))


def _is_causal(mask: Any, window: int | None) -> bool:
    """Whether a mask [query, key] lets each position see itself and its window before it.

    TransformerLens 3 stores an empty mask.
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


def _fold_gated_bias(checkpoint: StateDict, spec: Spec) -> None:
    """Make b_in of a gated MLP part of b_out.

    TransformerLens adds b_in behind the gate, to ``activation(gate) * in``. Our forward pass adds
    it to ``in``, before the gate.
    """
    import torch

    d_mlp, d_model = spec.d_mlp or 0, spec.d_model
    for layer in range(spec.n_layers):
        names = [f"blocks.{layer}.mlp.{name}" for name in ("b_in", "W_out", "b_out")]
        shapes = [checkpoint.shapes.get(name) for name in names]
        checkpoint.set_tensor(f"blocks.{layer}.mlp.b_gate", torch.zeros(d_mlp))
        if shapes != [(d_mlp,), (d_mlp, d_model), (d_model,)]:
            continue  # `assemble_transformer` says which shape is wrong
        b_in, w_out, b_out = (checkpoint.read_tensor(name).double() for name in names)
        checkpoint.set_tensor(names[2], b_out + b_in @ w_out)
        checkpoint.set_tensor(names[0], torch.zeros(d_mlp))
