"""Heads cut by where they fetch: Hugging Face's own weights behind a pattern with holes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Sources = Mapping[str, Mapping[str, Tensor]]
"""By head (``a0.h1``) and source, the position of the source in each prompt, [batch]."""


def source_names(sources: Sources) -> dict[str, list[str]]:
    """The writers that each split head consists of, in forward order."""
    return {head: [f"{head}[{name}]" for name in (*own, "rest")] for head, own in sources.items()}


def split_head(
    family: Any, layer: int, head: int, own: Mapping[str, Tensor], *inputs: Tensor
) -> dict[str, Tensor]:
    """What a head writes of each of its sources alone, and of all other keys.

    Args:
        inputs: what ``Family.head`` takes behind the number of the head.
    """
    plain, keys = family.pattern, torch.arange(inputs[1].shape[1])
    named = {name: keys == at[:, None] for name, at in own.items()}  # [batch, key]
    named["rest"] = ~torch.stack(list(named.values())).any(0)
    values = {}
    for name, seen in named.items():
        family.pattern = lambda *args, seen=seen: plain(*args) * seen[:, None]
        values[f"a{layer}.h{head}[{name}]"] = family.head(layer, head, *inputs)
    del family.pattern  # the class's own again
    return values
