"""Dictionaries beside a model, one for each MLP that they take apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.models.dictionaries.attached import AttachedDictionary
from circuitgraph.models.dictionaries.checking import check_dictionary
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.loading import open_dictionaries
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
from circuitgraph.models.language_model import LanguageModel

Given = str | Path | StoredDictionary | Dictionary


def attach_dictionaries(model: LanguageModel, *dictionaries: Given) -> LanguageModel:
    """The same model, with dictionaries whose features can be nodes of its graph.

    Args:
        dictionaries: names of `open_dictionaries` (of a set all its members), or what it or
            `load_dictionary` returns. Each takes the MLP of its layer apart: it reads what the MLP
            writes (a sparse autoencoder), or reads what the MLP reads and writes in its place (a
            transcoder).

    Raises:
        ModelError: not found, in no known layout, or of another width, layer or place than the
            model has.
        ArgumentError: features of it can be no nodes (says why); two for one layer; dictionaries
            that are not alike.
    """
    new: dict[int, AttachedDictionary] = {}
    for given in dictionaries:
        for stored in open_dictionaries(given) if isinstance(given, str | Path) else [given]:
            layer, name = _check_nodes(stored, model), getattr(stored, "name", "")
            if layer in new:
                raise ArgumentError(
                    f"Two dictionaries take m{layer} apart, {new[layer].name!r} and {name!r}: give "
                    "one for each layer."
                )
            loaded = stored.load() if isinstance(stored, StoredDictionary) else stored
            new[layer] = AttachedDictionary(name, loaded)
    attached = dict(sorted({**model.dictionaries, **new}.items()))
    _check_alike(attached)
    return replace(model, dictionaries=attached)


def _check_alike(attached: Mapping[int, AttachedDictionary]) -> None:
    """One compiled layer serves all: they may differ in weights only."""
    every = [each.dictionary for each in attached.values()]
    if len({(each.spec.computation, each.shapes) for each in every}) > 1:
        listed = [
            f"m{layer}: {each.name!r}, a {each.dictionary.spec.kind} of "
            f"{each.dictionary.n_features:,} features, {each.dictionary.spec.activation}"
            for layer, each in attached.items()
        ]
        title = "The dictionaries of one model have to be of one set, alike in kind and size:"
        raise ArgumentError(list_problems(title, listed))


def _check_nodes(dictionary: StoredDictionary | Dictionary, model: LanguageModel) -> int:
    """The layer whose MLP a dictionary takes apart, if its features can be nodes of the model."""
    check_dictionary(dictionary, model.spec)
    spec, name = dictionary.spec, getattr(dictionary, "name", "")
    hook, *more = spec.writes
    reason = spec.node_problem
    if reason is None and more:
        reason = "its features write into several layers, where a node writes once"
    if reason is None and not hook.after_mlp:
        reason = "it takes apart what the heads of a layer write together, and heads are nodes"
    if reason is not None:
        raise ArgumentError(
            f"Features of the dictionary {name!r} cannot be nodes of a graph: {reason}."
        )
    return hook.layer
