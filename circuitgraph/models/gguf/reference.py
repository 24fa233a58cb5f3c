"""A GGUF file run by transformers: its own model, with the weights that its own loader reads."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np

from circuitgraph.models.families import families
from circuitgraph.models.gguf.checkpoint import open_gguf_checkpoint
from circuitgraph.models.gguf.header import GgufHeader, read_header
from circuitgraph.models.gguf.settings import read_settings

_NOT_COMPARED = ("model_type",)  # transformers' loader reads it from the same key


def load_gguf_reference(path: Path, dtype: str, attention: str) -> Any:
    """Transformers' model with the settings that we read and the weights that its loader reads.

    Its loader leaves out settings that it does not know, such as the size of Qwen 3's heads; the
    model would be another one. `list_gguf_not_proved` names them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    header = read_header(str(path), path)
    settings, read = read_settings(header)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**settings), attn_implementation=attention
    )
    model.load_state_dict(_read_weights(header, settings, read, model), strict=False)
    model.tie_weights()
    return model.to(getattr(torch, dtype)).eval()


def _read_weights(
    header: GgufHeader, settings: Mapping[str, Any], read: frozenset[str], model: Any
) -> dict[str, Any]:
    import torch
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    if not _is_read_by_transformers(header):
        family = families[settings["model_type"]]
        ours = open_gguf_checkpoint(header, family, settings, read)
        return {name: torch.from_numpy(ours.read_array(name)) for name in ours.shapes}
    with redirect_stderr(io.StringIO()):  # its progress bar
        return load_gguf_checkpoint(str(header.path), return_tensors=True, model_to_load=model)[
            "tensors"
        ]


def _is_read_by_transformers(header: GgufHeader) -> bool:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return header.metadata["general.architecture"] in GGUF_SUPPORTED_ARCHITECTURES


def list_gguf_not_proved(path: Path) -> list[str]:
    """What of reading the file rests on our own reading alone, because transformers differs."""
    from transformers import AutoConfig
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    header = read_header(str(path), path)
    settings, _ = read_settings(header)
    if not _is_read_by_transformers(header):
        architecture = header.metadata["general.architecture"]
        return [f"that the file is read right: transformers reads no {architecture} from GGUF"]
    theirs, ours = (
        _fill_head_dim(AutoConfig.for_model(**config).to_dict())
        for config in (load_gguf_checkpoint(str(path))["config"], settings)
    )
    different = sorted(
        name
        for name in settings.keys() - set(_NOT_COMPARED)
        if not _is_same(ours.get(name), theirs.get(name))
    )
    if not different:
        return []
    return [
        f"that {', '.join(different)} are read right: transformers' loader of GGUF files reads "
        "them otherwise, or not at all"
    ]


def _fill_head_dim(config: dict[str, Any]) -> dict[str, Any]:
    """The settings with the size of a head, which may be left to be computed."""
    whole = config["hidden_size"] // config["num_attention_heads"]
    return {**config, "head_dim": config.get("head_dim") or whole}


def _is_same(one: Any, other: Any) -> bool:
    """Whether two settings are equal, numbers in float32."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.float32(one) == np.float32(other))
    return one == other
