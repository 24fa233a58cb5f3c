"""Units by name, ``m3.n117`` or ``m3.f2098``: what is refused, and where each of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from circuitgraph.engine.unit_places import UnitPlace
from circuitgraph.errors import ArgumentError, list_problems
from circuitgraph.graph.node import UNITS, Node
from circuitgraph.models.dictionaries.checking import check_dictionary
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.loading import open_dictionaries
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec

AnyDictionary = Dictionary | StoredDictionary


class PlacedUnits(NamedTuple):
    """Units of one place, and their numbers among all units that were asked for."""

    place: UnitPlace
    numbers: tuple[int, ...]


def place_units(
    model: LanguageModel, nodes: Sequence[Node], dictionaries: Sequence[AnyDictionary] = ()
) -> list[PlacedUnits]:
    """Where each unit is read, as the forward pass comes to these places.

    A feature ``m3.f7`` is number 7 of the dictionary that reads in layer 3, at whatever place.
    Dictionaries beside the model serve layers for which none is given.

    Raises:
        ArgumentError: lists all units that the model and the dictionaries do not have.
        ModelError: a dictionary does not fit the model.
    """
    attached = {layer: each.dictionary for layer, each in model.dictionaries.items()}
    by_layer = attached | _sort_dictionaries(model.spec, dictionaries)
    problems = [
        f"{node}: {problem}" for node in nodes if (problem := _find_problem(model, node, by_layer))
    ]
    if not nodes or problems:
        title = f"These units of {model.name!r} cannot be used:"
        raise ArgumentError(list_problems(title, problems or ["there are none: name some"]))
    placed = []
    for kind, layer in sorted({(node.kind, node.layer) for node in nodes}):
        numbers = tuple(
            i for i, node in enumerate(nodes) if (node.kind, node.layer) == (kind, layer)
        )
        dictionary = by_layer[layer] if kind == "feature" else None
        if isinstance(dictionary, StoredDictionary):
            dictionary = dictionary.load(model.dtype)
        units = jnp.asarray(np.array([nodes[i].index for i in numbers], np.int32))
        placed.append(PlacedUnits(UnitPlace(units, dictionary, layer), numbers))
    return sorted(placed, key=lambda one: one.place.depth)


def parse_unit(name: str) -> Node:
    """The neuron or feature of a name.

    Raises:
        UnknownNameError: no node has that name.
        ArgumentError: the node is no unit.
    """
    node = Node.parse(name)
    if node.kind not in UNITS:
        raise ArgumentError(
            f"{name!r} is no unit: expected a hidden neuron such as 'm3.n117', or a dictionary's "
            "feature such as 'm3.f2098'."
        )
    return node


def open_named_dictionaries(
    names: Sequence[str], nodes: Sequence[Node], *, local_only: bool = False
) -> list[StoredDictionary]:
    """Those dictionaries whose features are named; no weights are read.

    Raises:
        CircuitGraphError: dictionaries that cannot be read, or without any feature to be read.
    """
    layers = {node.layer for node in nodes if node.kind == "feature"}
    if names and not layers:
        raise ArgumentError(
            "A dictionary is given, but no feature of it is named, such as m3.f20: name one, or "
            "leave it out."
        )
    stored = [one for name in names for one in open_dictionaries(name, local_only=local_only)]
    return [one for one in stored if one.spec.reads is None or one.spec.reads.layer in layers]


def _sort_dictionaries(
    spec: Spec, dictionaries: Sequence[AnyDictionary]
) -> dict[int, AnyDictionary]:
    """The dictionary of each layer; all must fit the model."""
    by_layer: dict[int, AnyDictionary] = {}
    for dictionary in dictionaries:
        check_dictionary(dictionary, spec)
        reads = dictionary.spec.reads
        assert reads is not None  # noqa: S101 - checked just now
        if reads.layer in by_layer:
            raise ArgumentError(
                f"Two dictionaries read in layer {reads.layer}, at "
                f"{by_layer[reads.layer].spec.reads} and {reads}, so that 'm{reads.layer}.f0' "
                "could be of either: give one of them."
            )
        by_layer[reads.layer] = dictionary
    return by_layer


def _find_problem(
    model: LanguageModel, node: Node, dictionaries: dict[int, AnyDictionary]
) -> str | None:
    """Why a unit cannot be used; None if it can."""
    spec = model.spec
    if node.layer >= spec.n_layers:
        return f"the model has {spec.n_layers} layers, 0 to {spec.n_layers - 1}"
    if node.kind == "feature":
        if node.layer not in dictionaries:
            layers = ", ".join(map(str, sorted(dictionaries))) or "none"
            return f"no dictionary reads in layer {node.layer}; layers with one: {layers}"
        count, what = dictionaries[node.layer].n_features, "the dictionary has {} features"
    elif spec.experts is not None:
        return "a mixture of experts has a neuron once for each expert"
    elif spec.d_mlp is None:
        return "the model's layers have no MLP"
    else:
        count, what = spec.d_mlp, "its MLPs have {} neurons"
    if node.index >= count:
        return f"{what.format(f'{count:,}')}, 0 to {count - 1}"
    return None
