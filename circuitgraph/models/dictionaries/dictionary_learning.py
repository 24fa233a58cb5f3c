"""dictionary_learning: config.json says the class, ae.pt holds its state dict."""

from __future__ import annotations

import re

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.config_reader import ConfigReader
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec, FeatureActivation
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook, Place
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_CONFIG, _WEIGHTS = "config.json", "ae.pt"
# By class: the activation, and whether the decoder's bias is subtracted from the input.
_CLASSES: dict[str, tuple[FeatureActivation, bool]] = {
    "AutoEncoder": ("relu", True),
    "AutoEncoderNew": ("relu", False),
    "AutoEncoderTopK": ("top_k", True),
    "BatchTopKSAE": ("jump_relu", True),
    "GatedAutoEncoder": ("gated", True),
    "JumpReluAutoEncoder": ("jump_relu", False),
    "MatryoshkaBatchTopKSAE": ("jump_relu", True),
}
_BIASES = {
    "AutoEncoder": "bias",
    "AutoEncoderNew": "decoder.bias",
    "GatedAutoEncoder": "decoder_bias",
}
_PLACES: dict[str, Place] = {
    "resid_post": "resid_post",
    "attn_out": "raw_attention_output",
    "mlp_out": "raw_mlp_output",
}


@layout("dictionary_learning")
class DictionaryLearning(DictionaryLayout):
    """The classes of dictionary_learning; BatchTopK at inference has one threshold.

    AutoEncoderTopK stores a threshold, too, which it does not use.
    """

    holds = f"{_CONFIG} and {_WEIGHTS}"
    unused = "k|threshold|group_sizes"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.only in (None, _WEIGHTS) and {_CONFIG, _WEIGHTS} <= files.names

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given, layer
        trainer = files.read_config(_CONFIG).section("trainer")
        kind = trainer.content.get("dict_class")
        if not isinstance(kind, str) or kind not in _CLASSES:
            trainer.refuse("dict_class", ", ".join(_CLASSES))
        activation, subtracts = _CLASSES[kind]
        checkpoint = files.open_weights(_WEIGHTS, _CONFIG)
        hook = _read_hook(trainer)
        spec = DictionarySpec(
            layout="dictionary_learning",
            activation=activation,
            k=_read_k(trainer, checkpoint) if activation == "top_k" else None,
            subtracts_b_dec=subtracts,
            reads=hook,
            writes=() if hook is None else (hook,),
            model_name=trainer.read("lm_name", str | None, None),
        )
        sizes = {"f": trainer.read("dict_size", int), "i": trainer.read("activation_dim", int)}
        parts = _place_parts(kind, checkpoint)
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)


def _place_parts(kind: str, checkpoint: Checkpoint) -> StoredParts:
    is_gated = kind == "GatedAutoEncoder"
    w_enc, w_dec = StoredPart("encoder.weight", "fi"), StoredPart("decoder.weight", "of")
    b_enc = StoredPart("gate_bias" if is_gated else "encoder.bias", "f")
    if "W_enc" in checkpoint.shapes:  # classes that are not made of linear layers
        w_enc, w_dec = StoredPart("W_enc", "if"), StoredPart("W_dec", "fo")
        b_enc = StoredPart("b_enc", "f")
    threshold = None
    if _CLASSES[kind][0] == "jump_relu":
        is_one = checkpoint.shapes.get("threshold") == ()
        threshold = StoredPart("threshold", "" if is_one else "f", transform="positive")
    return StoredParts(
        w_enc=w_enc,
        w_dec=(w_dec,),
        b_enc=b_enc,
        b_dec=StoredPart(_BIASES.get(kind, "b_dec"), "o"),
        threshold=threshold,
        r_mag=StoredPart("r_mag", "f") if is_gated else None,
        b_mag=StoredPart("mag_bias", "f") if is_gated else None,
    )


def _read_k(trainer: ConfigReader, checkpoint: Checkpoint) -> int:
    """k, which stands in the configuration and beside the weights."""
    k = trainer.read("k", int)
    if checkpoint.shapes.get("k") == () and int(checkpoint.read_array("k")) != k:
        raise ModelError(
            f"{trainer.file} of {trainer.name!r} says k = {k}, but its weights "
            f"{int(checkpoint.read_array('k'))}."
        )
    return k


def _read_hook(trainer: ConfigReader) -> Hook | None:
    """Where it reads: the layer's output, unless the submodule has a name that says more."""
    layer = trainer.read("layer", int | None, None)
    submodule = trainer.read("submodule_name", str | None, None)
    if submodule is None:
        return None if layer is None else Hook("resid_post", layer)
    match = re.fullmatch(rf"({'|'.join(_PLACES)})_layer_(\d+)", submodule)
    return Hook(_PLACES[match[1]], int(match[2])) if match else None
