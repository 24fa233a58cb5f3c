"""Comparative neuron analysis: neurons that matter with a head and do not matter without it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.head_sweep import sweep_heads
from circuitgraph.analysis.heads import HeadPlace, name_head, rank_heads
from circuitgraph.analysis.measuring import collect_runs, estimate_cell
from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.analysis.neuron_choice import (
    AT_ONCE,
    check_answers,
    list_increase,
    score_mlp_neurons,
)
from circuitgraph.analysis.neuron_names import (
    list_neuron_rows,
    name_neuron,
    rank_neurons,
    read_tokens,
)
from circuitgraph.analysis.places import check_neurons
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.knockouts import keep_all
from circuitgraph.engine.readings.neuron_inputs import run_neuron_inputs
from circuitgraph.errors import check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Prompts

_N_HEADS = 5  # in the table of what moves the first neuron


class _Compared(NamedTuple):
    """Each neuron in each prompt, with the head and without it: [layers, batch, d_mlp]."""

    importance: Float[np.ndarray, "layers batch d_mlp"]
    importance_without: Float[np.ndarray, "layers batch d_mlp"]
    value: Float[np.ndarray, "layers batch d_mlp"]
    value_without: Float[np.ndarray, "layers batch d_mlp"]

    @property
    def falls(self) -> Float[np.ndarray, "layers d_mlp"]:
        """How far importance falls without the head, the mean over prompts."""
        return (self.importance - self.importance_without).mean(1)


@analysis(
    "compare-neurons",
    source="Yu and Ananiadou 2024b, Comparative Neuron Analysis",
    cannot_tell="whether the model needs a neuron: importance is what it adds directly, with the "
    "last norm held, and a neuron that later layers read may matter by another way.",
)
def read_neuron_comparison(
    model: LanguageModel,
    prompts: Prompts,
    *,
    head: str | None = None,
    top: int = 10,
    tokens: int = 5,
) -> Reading:
    """Neurons whose importance falls when a head falls silent: what the head hands on to MLPs.

    A neuron's importance is the log-probability increase of the answer, log P(x + m w) - log P(x),
    at the scored position: x is the stream after the layer's attention, m its value, w its row of
    the output weights. P is read by the last norm with the divisor of the run as it is, without its
    bias.

    Args:
        head: the head to silence, ``a1.h2``; by default the one without which the answer's
            probability falls most.
        top: how many neurons to list.
        tokens: how many of the tokens that a neuron raises to show.

    Raises:
        UnknownNameError: the model has no such head.
        ArgumentError: no head; experts, or no MLPs.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    check_neurons(model, "compare-neurons")
    check_between("top", top, 1, model.spec.n_layers * (model.spec.d_mlp or 0))
    check_between("tokens", tokens, 1, model.spec.d_vocab_out)
    asked = None if head is None else find_head(model, head)
    check_answers(model, prompts, "compare-neurons")
    place = (asked.layer, asked.index) if asked else find_strongest_head(model, prompts)
    compared = _compare_neurons(model, prompts, *place)
    strongest = rank_neurons(compared.falls, top)
    name = name_head(place)
    return Reading(
        tables=[
            _make_table(model, name, compared, strongest, tokens),
            _make_head_table(model, prompts, strongest[0]),
        ],
        pictures=[_draw_layers(name, compared)],
        notes=[f"{name} is silent at all positions."],
    )


def measure_falls(
    model: LanguageModel, prompts: Prompts, head: HeadPlace
) -> Float[np.ndarray, "layers d_mlp"]:
    """How far each neuron's importance falls when a head is silent, the mean over prompts."""
    return _compare_neurons(model, prompts, *head).falls


def find_strongest_head(model: LanguageModel, prompts: Prompts, first: int = 0) -> HeadPlace:
    """The head of layer ``first`` or later without which the answer's probability is least."""
    sweep = sweep_heads(model, prompts, (metrics["probability"],), "everywhere")
    place = int(sweep.without[first:, :, 0].mean(-1).argmin())
    return first + place // model.spec.n_heads, place % model.spec.n_heads


def _compare_neurons(model: LanguageModel, prompts: Prompts, layer: int, head: int) -> _Compared:
    kept = keep_all(model.spec, len(prompts))
    kept.z[layer, head] = 0.0
    whole, without = (
        score_mlp_neurons(model, prompts, list_increase(), own) for own in (None, kept)
    )
    return _Compared(whole.scores[0], without.scores[0], whole.coefficients, without.coefficients)


def _make_table(
    model: LanguageModel,
    head: str,
    compared: _Compared,
    strongest: list[tuple[int, int]],
    n_tokens: int,
) -> TableRecord:
    signs = [float(compared.value[layer, :, neuron].mean()) for layer, neuron in strongest]
    read = read_tokens(model, list_neuron_rows(model, strongest, signs), n_tokens)
    rows: list[list[Cell]] = []
    for (layer, neuron), said in zip(strongest, read, strict=True):
        before, after, value, value_after = (part[layer, :, neuron] for part in compared)
        cells = [estimate_cell(part) for part in (before - after, before, after)]
        values = [float(part.mean()) for part in (value, value_after, value_after - value)]
        rows.append([name_neuron((layer, neuron)), said, *cells, *values])
    return TableRecord(
        title=f"Neurons that matter less without {head}: importances in nats and values, means "
        "over prompts; the tokens that they raise when they have such values",
        columns=[
            "neuron",
            "raises",
            "fall of importance",
            "importance",
            f"without {head}",
            "value",
            "value without",
            "change",
        ],
        rows=rows,
    )


def _make_head_table(
    model: LanguageModel, prompts: Prompts, neuron: tuple[int, int]
) -> TableRecord:
    """Which heads move the first neuron's input."""
    layer, number = (np.int32(index) for index in neuron)
    run = collect_runs(
        prompts,
        AT_ONCE,
        lambda rows: run_neuron_inputs(model.transformer, make_batch(prompts, rows), layer, number),
    )
    sides = ["gate", "up"] if run.gate is not None else ["up"]
    parts = [getattr(run, side) for side in sides]  # each [layers, heads, batch]
    rows: list[list[Cell]] = [
        [name, *(estimate_cell(part[at]) for part in parts)]
        for at, name in rank_heads(np.abs(parts[0].mean(-1)), _N_HEADS)
    ]
    rows.append(["whole stream", *(estimate_cell(getattr(run, f"total_{side}")) for side in sides)])
    titles = {"gate": "into its gate", "up": "into its input" if len(sides) == 1 else "into its up"}
    return TableRecord(
        title=f"What moves {name_neuron(neuron)} at the scored position: parts of what its input "
        "weights read, biases apart; means over prompts",
        columns=["head", *(titles[side] for side in sides)],
        rows=rows,
    )


def _draw_layers(head: str, compared: _Compared) -> HeatmapRecord:
    """Where importance goes: sums of what falls and of what rises, layer by layer."""
    change = (compared.importance_without - compared.importance).mean(1)
    columns = {"falls": np.minimum(change, 0), "rises": np.maximum(change, 0)}
    return HeatmapRecord(
        title=f"Importance of neurons without {head}, less that with it, summed over each layer",
        unit="change of importance (nats)",
        row_axis="layer",
        column_axis="neurons whose importance",
        row_labels=[str(layer) for layer in range(len(change))],
        column_labels=list(columns),
        values=np.stack([part.sum(1) for part in columns.values()], axis=1).tolist(),
    )
