"""Units: neurons and dictionary features that are nodes, each writing a number times a row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph, Split
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.hooks import Place
from circuitgraph.models.mlp import MLP


class LayerUnits(NamedTuple):
    """The units of one layer, or of all layers stacked, all filled up to as many as the most have.

    Attributes:
        slots: their numbers among all units, in the graph's order; the number of all units where a
            layer has no more.
        indices: their numbers in the MLP or in the dictionary; 0 where a layer has no more.
        others: 0 for neurons that are units, 1 for those that the rest of the MLP writes.
        dictionary: which of the model's dictionaries takes the layer's MLP apart; -1 where none
            does.
        frozen: 1 where the dictionary's error is that of the clean run, 0 elsewhere.
    """

    slots: Int[Array, "*layers most"]
    indices: Int[Array, "*layers most"]
    others: Float[Array, "*layers d_mlp"]
    dictionary: Int[Array, "*layers"]
    frozen: Float[Array, "*layers"]


class Features(NamedTuple):
    """The dictionaries of the layers whose MLPs are split into features, stacked in their order.

    Attributes:
        others: 0 for features that are units, 1 for those that the rest writes.
    """

    dictionaries: Dictionary
    others: Float[Array, "dictionaries features"]

    def select(self, number: Int[Array, ""]) -> Dictionary:
        """One of the dictionaries; which one may be known at run time only."""
        return jax.tree.map(lambda stacked: stacked[number], self.dictionaries)

    @property
    def reads(self) -> Place:
        """Where around their MLPs they read."""
        hook = self.dictionaries.spec.reads
        assert hook is not None  # noqa: S101 - checked when the model got the dictionaries
        return hook.place


class Units(eqx.Module):
    """All units of a model: memory follows units times tokens, not the width of the stream.

    Attributes:
        rows: what each unit adds to the stream for each 1 of its value.
        layers: which units are whose, layers stacked.
        features: None in a graph without features.
        freezes: whether some layer's error is frozen.
        own_inputs: whether some units have inputs of their own: then all are read one by one.
    """

    rows: Float[Array, "units d"]
    layers: LayerUnits
    features: Features | None = None
    freezes: bool = eqx.field(static=True, default=False)
    own_inputs: bool = eqx.field(static=True, default=False)


def make_units(
    mlps: MLP | None, graph: Graph, dictionaries: Mapping[int, Dictionary]
) -> Units | None:
    """The units of a graph's split MLPs; None if all are whole.

    Args:
        mlps: the model's MLPs, layers stacked.
        dictionaries: by the layer whose MLP they take apart; they were checked against the model.

    Raises:
        ArgumentError: neurons that the MLPs do not have, or cannot be told apart; features without
            a dictionary, or that it does not have.
    """
    if not graph.splits:
        return None
    check_splits(mlps, graph, dictionaries)
    assert mlps is not None  # noqa: S101 - checked just now
    total, most = (f(len(s.indices) for s in graph.splits) for f in (sum, max))
    slots = np.full((graph.n_layers, most), total, np.int32)
    indices = np.zeros((graph.n_layers, most), np.int32)
    others, rows, start = np.ones((graph.n_layers, mlps.w_in.shape[-2])), [], 0
    frozen = np.zeros(graph.n_layers)
    for split in graph.splits:
        n, chosen = len(split.indices), np.array(split.indices)
        frozen[split.layer] = split.frozen
        slots[split.layer, :n] = np.arange(start, start + n)
        indices[split.layer, :n] = chosen
        if split.kind == "neuron":
            others[split.layer, chosen] = 0
            rows.append(_take_unit_rows(mlps, np.int32(split.layer), jnp.asarray(chosen)))
        else:
            rows.append(dictionaries[split.layer].decoder_rows(chosen)[0].astype(mlps.w_in.dtype))
        start += n
    chosen = {s.layer: s.indices for s in graph.splits if s.kind == "feature"}
    layers = LayerUnits(
        jnp.asarray(slots),
        jnp.asarray(indices),
        jnp.asarray(others, mlps.w_in.dtype),
        number_dictionaries(graph.n_layers, chosen),
        jnp.asarray(frozen, mlps.w_in.dtype),
    )
    features = stack_features(chosen, dictionaries) if chosen else None
    return Units(jnp.concatenate(rows), layers, features, bool(frozen.any()), graph.has_own_inputs)


@eqx.filter_jit
def _take_unit_rows(
    mlps: MLP, layer: np.int32 | Int[Array, ""], neurons: Int[Array, " units"]
) -> Float[Array, "units d"]:
    """One program instead of a dozen small ones, for all layers with as many units."""
    return select_layer(mlps, layer).unit_rows(neurons)


def number_dictionaries(n_layers: int, layers: Collection[int]) -> Int[Array, " layers"]:
    """`LayerUnits.dictionary`, of all layers, where these have a dictionary."""
    numbers = np.full(n_layers, -1, np.int32)
    numbers[list(layers)] = np.arange(len(layers))
    return jnp.asarray(numbers)


def stack_features(
    chosen: Mapping[int, Sequence[int]], dictionaries: Mapping[int, Dictionary]
) -> Features:
    """The dictionaries of some layers side by side, and which of their features are units."""
    each = [dictionaries[layer] for layer in chosen]
    others = np.ones((len(each), each[0].n_features), np.float32)
    for row, indices in zip(others, chosen.values(), strict=True):
        row[list(indices)] = 0
    # specs differ in nothing but layers and names: the first one's serves all
    structure = jax.tree.structure(each[0])
    alike = [jax.tree.unflatten(structure, jax.tree.leaves(dictionary)) for dictionary in each]
    return Features(jax.tree.map(lambda *leaves: jnp.stack(leaves), *alike), jnp.asarray(others))


def check_splits(mlps: MLP | None, graph: Graph, dictionaries: Mapping[int, Dictionary]) -> None:
    """Raise `ArgumentError` unless a model's MLPs can be split as a graph says."""
    for split in graph.splits:
        if split.kind == "feature":
            _check_features(split, dictionaries)
        else:
            _check_neurons(split, mlps)


def _check_features(split: Split, dictionaries: Mapping[int, Dictionary]) -> None:
    name, dictionary = f"m{split.layer}", dictionaries.get(split.layer)
    if dictionary is None:
        raise ArgumentError(
            f"{name} is split into features, but no dictionary of it is loaded with this model: "
            "give one, or split it into neurons."
        )
    if max(split.indices) >= dictionary.n_features:
        raise ArgumentError(
            f"{name}.f{max(split.indices)} is no feature of its dictionary, which has "
            f"{dictionary.n_features:,}, 0 to {dictionary.n_features - 1}."
        )
    reads = dictionary.spec.reads
    if split.own_inputs and reads is not None and reads.after_mlp:
        raise ArgumentError(
            f"The features of {name} read what the MLP writes, which has one input for all of "
            "them: they cannot have inputs of their own. Use a transcoder, or the shared input."
        )
    if split.own_inputs and not dictionary.spec.reads_features_apart:
        raise ArgumentError(
            f"The features of {name} cannot have inputs of their own: by the activation "
            f"{dictionary.spec.activation!r} they compete, and each depends on all. Use the shared "
            "input."
        )


def _check_neurons(split: Split, mlps: MLP | None) -> None:
    name = f"m{split.layer}"
    if mlps is None or mlps.router is not None:
        raise ArgumentError(
            f"{name} cannot be split into neurons: a mixture of experts has a neuron once for "
            "each expert. Leave it whole."
        )
    if max(split.indices) >= mlps.w_in.shape[1]:
        raise ArgumentError(
            f"{name}.n{max(split.indices)} is no neuron of this model, whose MLPs have "
            f"{mlps.w_in.shape[1]:,}, 0 to {mlps.w_in.shape[1] - 1}."
        )


def select_layer(mlps: MLP, layer: int | np.int32 | Int[Array, ""]) -> MLP:
    """One layer's MLP, of all layers stacked."""
    return jax.tree.map(lambda stacked: stacked[layer], mlps)
