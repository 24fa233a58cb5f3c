"""sparsify (EleutherAI): cfg.json and sae.safetensors, in a folder named after what it reads."""

from __future__ import annotations

from circuitgraph.errors import ModelError
from circuitgraph.models.checkpoint import Checkpoint
from circuitgraph.models.dictionaries import DictionaryLayout, GivenSettings, layout
from circuitgraph.models.dictionaries.config_reader import ConfigReader
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec, FeatureActivation
from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.hooks import Hook, parse_hook
from circuitgraph.models.dictionaries.stored_dictionary import (
    StoredDictionary,
    StoredPart,
    StoredParts,
    store_dictionary,
)

_CONFIG, _WEIGHTS = "cfg.json", "sae.safetensors"
_ACTIVATIONS: dict[str, FeatureActivation] = {"topk": "top_k", "groupmax": "group_max"}


@layout("sparsify")
class Sparsify(DictionaryLayout):
    """Top-k autoencoders, and transcoders of a module, with or without a skip connection.

    The decoder lies [features, d], as the encoder does. Others have read it the other way round, so
    that the shape decides.
    """

    holds = f"{_CONFIG} and {_WEIGHTS}"

    def recognise(self, files: DictionaryFiles) -> bool:
        return files.only in (None, _WEIGHTS) and {_CONFIG, _WEIGHTS} <= files.names

    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        del given, layer
        config = files.read_config(_CONFIG)
        checkpoint = files.open_weights(_WEIGHTS, _CONFIG)
        config.require("signed", False)
        activation = config.content.get("activation", "topk")
        if activation not in _ACTIVATIONS:
            config.refuse("activation", ", ".join(_ACTIVATIONS))
        transcodes = config.read("transcode", bool, False)
        reads, writes = _read_hooks(files, transcodes)
        spec = DictionarySpec(
            layout="sparsify",
            activation=_ACTIVATIONS[activation],
            k=config.read("k", int),
            subtracts_b_dec=not transcodes,
            reads=reads,
            writes=writes,
        )
        sizes = _read_sizes(config)
        parts = _place_parts(config, checkpoint, sizes["f"])
        return store_dictionary(files.name, spec, checkpoint, parts, sizes)


def _read_sizes(config: ConfigReader) -> dict[str, int]:
    width = config.read("d_in", int)
    n_features = config.read("num_latents", int, 0)
    return {"f": n_features or width * config.read("expansion_factor", int), "i": width, "o": width}


def _place_parts(config: ConfigReader, checkpoint: Checkpoint, n_features: int) -> StoredParts:
    shape = checkpoint.shapes.get("W_dec", ())
    skips = config.read("skip_connection", bool, False)
    return StoredParts(
        w_enc=StoredPart("encoder.weight", "fi"),
        w_dec=(StoredPart("W_dec", "fo" if shape[:1] == (n_features,) else "of"),),
        b_enc=StoredPart("encoder.bias", "f"),
        b_dec=StoredPart("b_dec", "o"),
        w_skip=StoredPart("W_skip", "oi") if skips else None,
    )


def _read_hooks(files: DictionaryFiles, transcodes: bool) -> tuple[Hook | None, tuple[Hook, ...]]:
    """Where it reads and writes, by the folder's name; a transcoder reads its module's input."""
    folder = files.full_name.removesuffix(f"/{_WEIGHTS}").rsplit("/", 1)[-1]
    try:
        hook = parse_hook(folder)
    except ModelError:
        return None, ()
    if not transcodes:
        return hook, (hook,)
    if not hook.after_mlp:
        return None, ()
    return Hook("mlp_normed", hook.layer), (hook,)
