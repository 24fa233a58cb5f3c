"""Goodfire: one state dict of two linear layers, and no configuration."""

from __future__ import annotations

import re

from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)


@layout("goodfire")
class Goodfire(DictionaryLayout):
    """ReLU autoencoders of Llama 3; the layer stands in the file's name (``...-SAE-l19.pth``)."""

    holds = "one .pt or .pth file with encoder_linear.weight"

    def recognise(self, files: DictionaryFiles) -> bool:
        file = _find_file(files)
        if file is None:
            return False
        shapes = files.open_weights(file).shapes
        return {"encoder_linear.weight", "decoder_linear.weight"} <= shapes.keys()

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given, layer
        file = _find_file(files) or ""
        checkpoint = files.open_weights(file)
        name = re.search(r"(?:^|/)([^/]+)-SAE-l(\d{1,4})\.", file)
        hook = Hook("resid_post", int(name[2])) if name else None
        spec = DictionarySpec(
            layout="goodfire",
            activation="relu",
            subtracts_b_dec=False,
            reads=hook,
            writes=() if hook is None else (hook,),
            model_name=f"meta-llama/{name[1]}" if name else None,
        )
        parts = StoredParts(
            w_enc=StoredPart("encoder_linear.weight", "fi"),
            w_dec=(StoredPart("decoder_linear.weight", "of"),),
            b_enc=StoredPart("encoder_linear.bias", "f"),
            b_dec=StoredPart("decoder_linear.bias", "o"),
        )
        return store_dictionary(files.name, spec, checkpoint, parts)


def _find_file(files: DictionaryFiles) -> str | None:
    """The only file that can be it: the one that was named, or the folder's only state dict."""
    candidates = [f for f in files.names if re.fullmatch(r"[^/]+\.(pt|pth)", f)]
    if files.only is not None:
        candidates = [f for f in candidates if f == files.only]
    return candidates[0] if len(candidates) == 1 else None
