"""Where in a model a dictionary reads and writes, by the names that other tools have for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from circuitgraph.errors import ModelError
from circuitgraph.printable import NAME, shorten_text

Place = Literal[
    "embed",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "z",
    "attention_output",
    "raw_attention_output",
    "mlp_input",
    "mlp_normalised",
    "mlp_normed",
    "mlp_output",
    "raw_mlp_output",
]
STREAM_PLACES: tuple[Place, ...] = ("embed", "resid_pre", "resid_mid", "resid_post")
MLP_INPUTS: tuple[Place, ...] = ("resid_mid", "mlp_input", "mlp_normalised", "mlp_normed")

# TransformerLens' names, which come back when a place is printed, ...
_CANONICAL: dict[Place, str] = {
    "embed": "hook_embed",
    "resid_pre": "blocks.{}.hook_resid_pre",
    "resid_mid": "blocks.{}.hook_resid_mid",
    "resid_post": "blocks.{}.hook_resid_post",
    "z": "blocks.{}.attn.hook_z",
    "attention_output": "blocks.{}.hook_attn_out",
    "raw_attention_output": "layers.{}.self_attn.output",
    "mlp_input": "blocks.{}.hook_mlp_in",
    "mlp_normalised": "blocks.{}.ln2.hook_normalized",
    "mlp_normed": "blocks.{}.mlp.hook_in",
    "mlp_output": "blocks.{}.hook_mlp_out",
    "raw_mlp_output": "layers.{}.mlp.output",
}
# ... and what Hugging Face modules are called, behind the name of their layer.
_MODULES: dict[str, Place] = {
    r"(\.output)?": "resid_post",
    r"\.input": "resid_pre",
    r"\.(self_attn|attn|attention)(\.output)?": "raw_attention_output",
    r"\.(self_attn\.o_proj|attn\.c_proj|attention\.dense)\.input": "z",
    r"\.mlp(\.output|\.hook_out)?": "raw_mlp_output",
    r"\.mlp\.input": "mlp_normed",
    r"\.pre_feedforward_layernorm\.output": "mlp_normed",
    r"\.post_feedforward_layernorm\.output": "mlp_output",
}
_LAYER = r"(?:\w+\.)*(?:layers|h|blocks)\.(\d{1,5})"


@dataclass(frozen=True)
class Hook:
    """One place in one layer.

    Attributes:
        place: ``resid_pre``, ``resid_mid``, ``resid_post``: the stream before the layer, after its
            attention, after the layer. ``z``: what all heads fetched, side by side. ``mlp_input``:
            what the MLP reads, before its norm; ``mlp_normalised``: after the norm's division,
            before its weight; ``mlp_normed``: after the norm. ``attention_output``, ``mlp_output``:
            what they add to the stream; ``raw_...``: what their modules give, before a post-norm.
    """

    place: Place
    layer: int

    def __str__(self) -> str:
        return _CANONICAL[self.place].format(self.layer)

    @property
    def in_stream(self) -> bool:
        """Whether this is the residual stream itself."""
        return self.place in STREAM_PLACES

    @property
    def after_mlp(self) -> bool:
        """Whether this is what an MLP gives."""
        return self.place in ("mlp_output", "raw_mlp_output")

    @property
    def after_attention(self) -> bool:
        """Whether this is what the heads of a layer give together."""
        return self.place in ("attention_output", "raw_attention_output")


def parse_hook(name: str) -> Hook:
    """The place that a name of TransformerLens or of a Hugging Face module stands for.

    Raises:
        ModelError: no such place is known, such as one head's own values.
    """
    if name in ("hook_embed", "embed_tokens") or re.fullmatch(
        r"(\w+\.)*embed_tokens(\.\w+)?", name
    ):
        return Hook("embed", 0)
    for place in get_args(Place):
        pattern = re.escape(_CANONICAL[place]).replace(r"\{\}", r"(\d{1,5})")
        if match := re.fullmatch(pattern, name):
            return Hook(place, int(match[1]))
    for module, place in _MODULES.items():
        if match := re.fullmatch(_LAYER + module, name):
            return Hook(place, int(match[1]))
    raise ModelError(
        f"The hook {shorten_text(name, NAME)!r} is none that is known. Known are names such as "
        f"{', '.join(_CANONICAL[place].format(3) for place in get_args(Place))}, and Hugging Face "
        "modules such as model.layers.3, model.layers.3.mlp, model.layers.3.self_attn."
    )
