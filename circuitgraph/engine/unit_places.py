"""Units by the places where they are read: hidden neurons of an MLP, or features of a dictionary.

Neurons are those of any model's MLPs, whether or not they are nodes of a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.batch import Inputs, make_inputs
from circuitgraph.engine.edits import (
    Edits,
    add_change,
    compute_change,
    make_no_edits,
    read_edited,
    trace_edited,
)
from circuitgraph.engine.memory import memory_limit
from circuitgraph.engine.trace import Trace
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.hooks import MLP_INPUTS, Hook
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import to_float32
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer

_MOST_ROWS = 32  # prompts of one launch
_SHARE = 4  # of the memory limit, for what a launch keeps of all layers and edits
UnitValues = Float[Array, "batch pos units"]


class UnitPlace(eqx.Module):
    """Some units that are read at one place.

    Attributes:
        layer: of the MLP, or where the dictionary reads.
        units: the numbers of the neurons or features.
        dictionary: whose features they are; None for hidden neurons.
    """

    units: Int[Array, " units"]
    dictionary: Dictionary | None
    layer: int = eqx.field(static=True)

    @property
    def depth(self) -> tuple[int, int]:
        """Orders places as the forward pass comes to them."""
        if self.dictionary is None:
            return self.layer, 3
        hook = self.dictionary.spec.reads
        assert hook is not None  # noqa: S101 - `check_dictionary` comes first
        if hook.place in ("embed", "resid_pre"):
            return self.layer, 0
        if hook.place == "z" or hook.after_attention:
            return self.layer, 1
        if hook.place in MLP_INPUTS:
            return self.layer, 2
        return self.layer, 4 if hook.after_mlp else 5


class UnitMap(eqx.Module):
    """What becomes of units at each token: their value times one number plus another."""

    times: UnitValues
    plus: UnitValues


def read_units(model: Transformer, trace: Trace, edits: Edits, place: UnitPlace) -> UnitValues:
    """The values of a place's units in a run with these edits."""
    if place.dictionary is None:
        return to_float32(_read_hidden(model, trace, place)[1][..., place.units])
    return place.dictionary.encode(_read_input(model, trace, edits, place))[..., place.units]


def change_units(
    model: Transformer, trace: Trace, edits: Edits, place: UnitPlace, unit_map: UnitMap
) -> tuple[Edits, UnitValues]:
    """The edits with those of a place, and the values that its units have then.

    What other units and a dictionary's error write stays as it is.
    """
    values = read_units(model, trace, edits, place)
    changed = unit_map.times * values + unit_map.plus
    dtype, change = model.embedding.dtype, changed - values
    if place.dictionary is None:
        mlp, hidden = _read_hidden(model, trace, place)
        written = mlp.write_change(hidden, place.units, change.astype(dtype))
        return add_change(model, edits, Hook("mlp_output", place.layer), written), changed
    x = _read_input(model, trace, edits, place)
    for number, hook in enumerate(place.dictionary.spec.writes):
        written = place.dictionary.write_change(change, place.units, x, number).astype(dtype)
        if hook.place == "z":  # heads write a change of what they fetched
            value = read_edited(model, trace, edits, hook)
            written = compute_change(model, hook, value, value + written)
        edits = add_change(model, edits, hook, written)
    return edits, changed


def collect_units(
    model: Transformer,
    tokens: Int[np.ndarray, "rows pos"],
    mask: Bool[np.ndarray, "rows pos"],
    places: Sequence[UnitPlace],
) -> list[Float[np.ndarray, "rows pos units"]]:
    """The values of units in runs as they are, for each place."""
    parts = [[] for _ in places]
    for rows, n in cut_rows(len(tokens), choose_rows(model.spec, tokens.shape[1])):
        inputs = make_inputs(tokens[rows], mask[rows], np.zeros(len(rows), np.int32))
        for part, values in zip(parts, _read_places(model, inputs, places), strict=True):
            part.append(np.asarray(to_float32(values))[:n])
    return [np.concatenate(part) for part in parts]


def choose_rows(spec: Spec, n_pos: int) -> int:
    """How many prompts fit into one launch, whose runs keep streams and edits of all layers."""
    kept = spec.n_layers * (5 * spec.d_model + spec.n_heads * spec.d_head)
    inside = 8 * spec.d_model + spec.n_heads * 2 * n_pos + 3 * (spec.d_mlp or 0)
    return max(1, min(_MOST_ROWS, memory_limit() // _SHARE // (4 * n_pos * (kept + inside))))


def cut_rows(n: int, size: int) -> Iterator[tuple[Int[np.ndarray, " launch"], int]]:
    """The numbers of rows in launches of one size, and how many of each launch are new.

    The last row stands again and again where there are fewer than a launch has.
    """
    size = max(1, min(n, size))
    for start in range(0, n, size):
        yield np.minimum(np.arange(start, start + size), n - 1), min(size, n - start)


@eqx.filter_jit
def _read_places(
    model: Transformer, inputs: Inputs, places: Sequence[UnitPlace]
) -> list[UnitValues]:
    with jax.default_matmul_precision("highest"):
        edits = make_no_edits(model, inputs)
        trace = trace_edited(model, inputs, edits)
        return [read_units(model, trace, edits, place) for place in places]


def _read_hidden(
    model: Transformer, trace: Trace, place: UnitPlace
) -> tuple[MLP, Float[Array, "batch pos d_mlp"]]:
    mlp = model.select_layer(place.layer)[0].mlp
    assert mlp is not None and trace.mlp_input is not None  # noqa: S101, PT018 - checked before
    return mlp, mlp.read_hidden(trace.mlp_input[place.layer])


def _read_input(
    model: Transformer, trace: Trace, edits: Edits, place: UnitPlace
) -> Float[Array, "batch pos width"]:
    assert place.dictionary is not None and place.dictionary.spec.reads is not None  # noqa: S101, PT018
    x = read_edited(model, trace, edits, place.dictionary.spec.reads)
    return to_float32(x)
