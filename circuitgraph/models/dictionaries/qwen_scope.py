"""Qwen Scope: a file for each layer; width and k stand in the repository's name alone."""

from __future__ import annotations

import re

from circuitgraph.errors import ModelError
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

_MEMBER = r"layer(\d{1,4})\.sae\.pt"
_NAME = r"SAE-Res-(.+?)-W(\d{1,6})K-L0_(\d{1,6})"


@layout("qwen_scope")
class QwenScope(DictionaryLayout):
    """Top-k autoencoders of the residual stream of Qwen 3 and 3.5."""

    holds = "layer0.sae.pt and so on"
    takes = ("k",)

    def recognise(self, files: DictionaryFiles) -> bool:
        return bool(files.match(_MEMBER)) and (
            files.only is None or bool(re.fullmatch(_MEMBER, files.only))
        )

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        layers = files.match(_MEMBER)
        return sorted(n for n, file in layers.items() if files.only in (None, file))

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        checkpoint = files.open_weights(files.match(_MEMBER)[layer], "the name")
        name = re.search(_NAME, files.full_name)
        k = given.k or (int(name[3]) if name else None)
        if k is None:
            raise ModelError(
                f"{files.name!r} is of Qwen Scope, whose files do not say how many features are "
                "active: that stands in the repository's name (SAE-Res-...-L0_50). Give it: k."
            )
        hook = Hook("resid_post", layer)
        spec = DictionarySpec(
            layout="qwen_scope",
            activation="top_k",
            k=k,
            subtracts_b_dec=False,
            reads=hook,
            writes=(hook,),
            model_name=f"Qwen/{name[1]}" if name else None,
        )
        parts = StoredParts(
            w_enc=StoredPart("W_enc", "fi"),
            w_dec=(StoredPart("W_dec", "of"),),
            b_enc=StoredPart("b_enc", "f"),
            b_dec=StoredPart("b_dec", "o"),
        )
        sizes = {"f": int(name[2]) * 1024} if name else {}
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)
