"""Names and order of neurons, and the tokens that they raise."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.heads import name_head
from circuitgraph.analysis.measuring import rank_places
from circuitgraph.engine.readings.neurons import list_channel_rows, run_rows
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.models.units import select_layer


def read_tokens(model: LanguageModel, rows: Float[np.ndarray, "n d"], top: int) -> list[str]:
    """The tokens that each row raises most, in words."""
    tokens = np.asarray(run_rows(model.transformer, jnp.asarray(rows), top))
    decode = model.text_tokenizer.decode_answer
    return [", ".join(repr(decode(int(token))) for token in row) for row in tokens]


def list_neuron_rows(
    model: LanguageModel, neurons: Sequence[tuple[int, int]], signs: Sequence[float]
) -> Float[np.ndarray, "n d"]:
    """What neurons of MLPs write, by layer and number; turned where their value is negative."""
    assert model.transformer.blocks.mlp is not None  # noqa: S101 - checked before
    mlps = model.transformer.blocks.mlp
    rows = [
        np.asarray(select_layer(mlps, layer).unit_rows(jnp.array([neuron]))[0], np.float32)
        for layer, neuron in neurons
    ]
    return np.stack(rows) * np.where(np.asarray(signs) < 0, -1.0, 1.0)[:, None].astype(np.float32)


def rank_neurons(scores: Float[np.ndarray, "layers neurons"], top: int) -> list[tuple[int, int]]:
    """Layer and number of the neurons of the highest scores, the highest first."""
    return [(layer, neuron) for layer, neuron in rank_places(scores, top)]


def name_neuron(neuron: tuple[int, int]) -> str:
    """A neuron's name, ``m3.n17``."""
    return str(Node("neuron", *neuron))


def name_channel(spec: Spec, place: tuple[int, int]) -> str:
    """An attention neuron, ``a3.h2[17]``, by layer and number among all channels."""
    head, channel = divmod(place[1], spec.d_head)
    return f"{name_head((place[0], head))}[{channel}]"


def list_channel_tokens(
    model: LanguageModel, places: Sequence[tuple[int, int]], top: int
) -> list[tuple[str, str]]:
    """The tokens that each attention neuron raises with a positive and with a negative value."""
    rows = []
    for layer, number in places:
        attention = model.transformer.select_layer(layer)[0].attention
        rows.append(np.asarray(list_channel_rows(attention)[number], np.float32))
    stacked = np.stack(rows)
    return list(
        zip(read_tokens(model, stacked, top), read_tokens(model, -stacked, top), strict=True)
    )
