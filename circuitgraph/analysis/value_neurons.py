"""Value neurons: which neurons of MLPs and of attention add to the answer's probability."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads, rank_heads
from circuitgraph.analysis.measuring import collect_runs, estimate_cell, make_series
from circuitgraph.analysis.neuron_choice import (
    AT_ONCE,
    check_answers,
    list_increase,
    pick_highest,
    score_channels,
    score_mlp_neurons,
)
from circuitgraph.analysis.neuron_names import (
    list_channel_tokens,
    list_neuron_rows,
    name_channel,
    name_neuron,
    rank_neurons,
    read_tokens,
)
from circuitgraph.analysis.places import check_neurons
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    Reading,
    TableRecord,
)
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.neurons import run_sublayers
from circuitgraph.errors import check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts

INCREASE_OF_HEADS = "Log-probability increase of what each head adds"
INCREASE_UNIT = "log-probability increase (nats)"
_COUNTED = 300  # neurons of each prompt, by default


class Sublayers(NamedTuple):
    """The log-probability increase of what each part of a layer adds, in each prompt."""

    heads: Float[np.ndarray, "layers heads batch"]
    attention: Float[np.ndarray, "layers batch"]
    mlp: Float[np.ndarray, "layers batch"]


@analysis(
    "value-neurons",
    source="Yu and Ananiadou 2024a, Neuron-Level Knowledge Attribution",
    cannot_tell="whether the answer would be lost without a neuron: this is what it adds directly "
    "to the stream as it is there. Neurons that later ones read are found by query-neurons.",
)
def read_value_neurons(
    model: LanguageModel,
    prompts: Prompts,
    *,
    top: int = 10,
    counted: int | None = None,
    tokens: int = 5,
) -> Reading:
    """Neurons by the log-probability increase of the answer: of MLPs, and of attention.

    An attention neuron is channel j of a head, with column j of its output weights; from each key
    it has a value of its own, attention times the channel of the value there.

    Args:
        top: how many neurons and heads to list.
        counted: how many neurons of each prompt count in the tables by layer and head; by default
            300, or as many as there are. Those of attention are counted key by key.
        tokens: how many of the tokens that a neuron raises to show.

    Raises:
        ArgumentError: experts or no MLPs, more neurons than there are.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    check_neurons(model, "value-neurons")
    spec = model.spec
    most = spec.n_layers * min(spec.d_mlp or 0, spec.n_heads * spec.d_head)
    check_between("top", top, 1, most)
    counted = min(_COUNTED, most) if counted is None else check_between("counted", counted, 1, most)
    check_between("tokens", tokens, 1, spec.d_vocab_out)
    check_answers(model, prompts, "value-neurons")
    mlp = score_mlp_neurons(model, prompts, list_increase())
    channels = score_channels(model, prompts, list_increase(), by_key=True)[0]
    importance = mlp.scores[0]
    n_layers, n_prompts, n_channels, n_keys = channels.shape
    sublayers = measure_sublayers(model, prompts)
    chosen = pick_highest(importance, counted, range(n_layers))
    flat = channels.reshape(n_layers, n_prompts, -1)
    chosen_keys = pick_highest(flat, counted, range(n_layers))
    sums = (flat * chosen_keys).reshape(n_layers, n_prompts, spec.n_heads, -1).sum(-1)
    by_head = np.moveaxis(sums, 1, 2)  # [layers, heads, batch]
    by_layer = (importance * chosen).sum(-1)
    return Reading(
        tables=[
            _make_mlp_table(model, importance, mlp.coefficients, top, tokens),
            _make_channel_table(model, channels, top, tokens),
            _make_layer_table(sublayers, by_head.sum(1), by_layer, counted),
            _make_head_table(sublayers.heads, by_head, top, counted),
        ],
        pictures=[
            _draw_layers(sublayers),
            draw_heads(INCREASE_OF_HEADS, INCREASE_UNIT, sublayers.heads.mean(-1)),
        ],
        notes=[
            f"Prompts have up to {n_keys} tokens; a head has {n_channels // spec.n_heads} channels."
        ],
    )


def measure_sublayers(model: LanguageModel, prompts: Prompts) -> Sublayers:
    """What each head, each attention and each MLP adds to the answer's log-probability."""
    run = collect_runs(
        prompts, AT_ONCE, lambda rows: run_sublayers(model.transformer, make_batch(prompts, rows))
    )
    return Sublayers(*run)


def _make_mlp_table(
    model: LanguageModel,
    importance: Float[np.ndarray, "layers batch d_mlp"],
    values: Float[np.ndarray, "layers batch d_mlp"],
    top: int,
    n_tokens: int,
) -> TableRecord:
    places = rank_neurons(importance.mean(1), top)
    means = [float(values[layer, :, neuron].mean()) for layer, neuron in places]
    read = read_tokens(model, list_neuron_rows(model, places, means), n_tokens)
    rows: list[list[Cell]] = [
        [name_neuron(place), said, estimate_cell(importance[place[0], :, place[1]]), mean]
        for place, said, mean in zip(places, read, means, strict=True)
    ]
    return TableRecord(
        title="Value neurons of MLPs: log-probability increase of the answer (nats), means over "
        "prompts",
        columns=["neuron", "raises", "importance", "value"],
        rows=rows,
    )


def _make_channel_table(
    model: LanguageModel,
    channels: Float[np.ndarray, "layers batch neurons keys"],
    top: int,
    n_tokens: int,
) -> TableRecord:
    """Attention neurons by the sum over keys of their importances from each."""
    places = rank_neurons(channels.sum(-1).mean(1), top)
    rows: list[list[Cell]] = []
    for place, said in zip(places, list_channel_tokens(model, places, n_tokens), strict=True):
        own = channels[place[0], :, place[1]]  # [batch, keys]
        key = int(np.bincount(own.argmax(1)).argmax())
        rows.append([name_channel(model.spec, place), *said, estimate_cell(own.sum(1)), key])
    return TableRecord(
        title="Value neurons of attention: log-probability increase of the answer (nats), summed "
        "over keys; means over prompts",
        columns=["channel", "raises", "if negative", "importance", "most from key"],
        rows=rows,
    )


def _make_layer_table(
    sublayers: Sublayers,
    channels: Float[np.ndarray, "layers batch"],
    neurons: Float[np.ndarray, "layers batch"],
    counted: int,
) -> TableRecord:
    columns = (sublayers.attention, sublayers.mlp, channels, neurons)
    return TableRecord(
        title="By layer: log-probability increase of what attention and MLP add, and the sums of "
        f"importances of each prompt's {counted} strongest value neurons; means over prompts",
        columns=["layer", "attention", "MLP", "attention neurons", "MLP neurons"],
        rows=[
            [str(layer), *(estimate_cell(column[layer]) for column in columns)]
            for layer in range(len(neurons))
        ],
    )


def _make_head_table(
    heads: Float[np.ndarray, "layers heads batch"],
    channels: Float[np.ndarray, "layers heads batch"],
    top: int,
    counted: int,
) -> TableRecord:
    """The heads that add most, and what their strongest channels add."""
    rows: list[list[Cell]] = [
        [name, *(estimate_cell(part[at]) for part in (heads, channels))]
        for at, name in rank_heads(heads.mean(-1), top)
    ]
    return TableRecord(
        title="By head: log-probability increase of what it adds, and the sum of importances of "
        f"its channels among each prompt's {counted} strongest; means over prompts",
        columns=["head", "importance", "its channels"],
        rows=rows,
    )


def _draw_layers(sublayers: Sublayers) -> CurvesRecord:
    return CurvesRecord(
        title="Log-probability increase of what attention and MLP of each layer add",
        x_axis="layer",
        y_axis="nats",
        x=list(range(len(sublayers.mlp))),
        series=[
            make_series("attention", sublayers.attention),
            make_series("MLP", sublayers.mlp),
        ],
    )
