"""Gemma Scope 1: one params.npz, and all else in the names of its folders and of the repository."""

from __future__ import annotations

import re

from circuitgraph.models.checkpoint import Checkpoint
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

_RELEASE = r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att|transcoders)\b"


@layout("gemma_scope")
class GemmaScope(DictionaryLayout):
    """Autoencoders and transcoders of Gemma 2 (Lieberum et al. 2024).

    Transcoders read what the norm before the MLP divides, before its weight.
    """

    holds = "params.npz"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.has("params.npz")

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given, layer
        checkpoint = files.open_weights("params.npz")
        return open_params(files.name, files.full_name, checkpoint)


def open_params(name: str, full_name: str, checkpoint: Checkpoint) -> StoredDictionary:
    """A dictionary of Gemma Scope 1.

    Args:
        full_name: with all folders, in which the release and the layer are looked for.
    """
    reads, writes = _read_hooks(full_name)
    release = re.search(_RELEASE, full_name)
    spec = DictionarySpec(
        layout="gemma_scope",
        activation="jump_relu",
        subtracts_b_dec=False,
        reads=reads,
        writes=writes,
        model_name=f"google/gemma-2-{release[1]}{'-it' * (release[2] == 'it')}"
        if release
        else None,
    )
    w = "W" if "W_enc" in checkpoint.shapes else "w"
    # those of embeddings were trained without the factor that Gemma has on them
    width = checkpoint.shapes.get(f"{w}_enc", (1,))[0]
    factor = width**0.5 if reads == Hook("embed", 0) else 1.0
    parts = StoredParts(
        w_enc=StoredPart(f"{w}_enc", "if", times=1 / factor),
        w_dec=(StoredPart(f"{w}_dec", "fo", times=factor),),
        b_enc=StoredPart("b_enc", "f"),
        b_dec=StoredPart("b_dec", "o"),
        threshold=StoredPart("threshold", "f", transform="positive"),
    )
    return store_dictionary(name, spec, checkpoint, parts)


def _read_hooks(full_name: str) -> tuple[Hook | None, tuple[Hook, ...]]:
    release, layer = re.search(_RELEASE, full_name), re.search(r"\blayer_(\d+)", full_name)
    if release and release[3] == "res" and "/embedding" in full_name:
        return Hook("embed", 0), (Hook("embed", 0),)
    if not release or not layer:
        return None, ()
    number = int(layer[1])
    if release[3] == "transcoders":
        return Hook("mlp_normalised", number), (Hook("mlp_output", number),)
    place = {"res": "resid_post", "mlp": "mlp_output", "att": "z"}[release[3]]
    hook = Hook(place, number)  # pyright: ignore[reportArgumentType]
    return hook, (hook,)
