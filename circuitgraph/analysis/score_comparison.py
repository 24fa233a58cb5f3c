"""Scores of neurons compared: which score's ten highest neurons the answer misses most."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import choose_metrics, estimate_cell, estimate_metrics
from circuitgraph.analysis.neuron_choice import (
    check_answers,
    check_several_answers,
    drop_channels,
    drop_hidden,
    measure_knocked_out,
    pick_highest,
    pick_random,
    score_channels,
    score_mlp_neurons,
)
from circuitgraph.analysis.places import check_neurons, choose_layers
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.readings.knockouts import keep_all
from circuitgraph.engine.readings.neuron_scores import NeuronScore, neuron_scores
from circuitgraph.errors import check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

Kind = Literal["mlp", "attention"]
METRICS = ("reciprocal_rank", "probability", "log_probability")


@analysis(
    "compare-scores",
    source="Yu and Ananiadou 2024a, Neuron-Level Knowledge Attribution; the baselines are "
    "reconstructed",
    cannot_tell="which neurons the task needs: a score wins that picks, prompt by prompt, what "
    "adds to this very answer, and every score but three knows the answer.",
)
def read_score_comparison(
    model: LanguageModel,
    prompts: Prompts,
    *,
    kind: Kind = "mlp",
    top: int = 10,
    layers: tuple[int, ...] | None = None,
    draws: int = 3,
    seed: int = 0,
) -> Reading:
    """Reciprocal rank, probability and log-probability without each score's highest ten neurons.

    Each prompt loses its own neurons, at all positions; random ones are drawn beside them.

    Args:
        kind: neurons of MLPs, or of attention: channels of what heads fetch, from all keys.
        top: how many neurons are zeroed.
        layers: whose neurons; all by default.
        draws: how often random neurons are drawn; each prompt's values are their means.
        seed: of the draws.

    Raises:
        ArgumentError: experts or no MLPs where their neurons are wanted, layers or neurons that the
            model does not have.
        DataError: prompts that the model cannot read, or that all have one answer.
    """
    spec = model.spec
    if kind == "mlp":
        check_neurons(model, "compare-scores")
    some = choose_layers(spec, layers)
    width = spec.n_heads * spec.d_head if kind == "attention" else spec.d_mlp or 0
    check_between("top", top, 1, len(some) * width)
    check_at_least("draws", draws, 1)
    check_answers(model, prompts, "compare-scores")
    check_several_answers(prompts, "compare-scores")
    every = tuple(neuron_scores[name] for name in neuron_scores.names())
    scores = _score_neurons(model, prompts, kind, every)
    chosen = choose_metrics(model, prompts, METRICS)
    rng, shape = np.random.default_rng(seed), scores.shape[1:]

    def measure(picked: Bool[np.ndarray, "layers batch neurons"]) -> np.ndarray:
        drop = drop_hidden if kind == "mlp" else drop_channels
        return measure_knocked_out(model, prompts, chosen, drop(spec, picked))

    whole = measure_knocked_out(model, prompts, chosen, keep_all(spec, len(prompts)))
    values = {"nothing": whole}
    for score, own in zip(every, scores, strict=True):
        values[score.name] = measure(pick_highest(own, top, some))
    # the score that costs the answer most comes first
    order = sorted(list(values)[1:], key=lambda name: values[name][-1].mean())
    draw = [measure(pick_random(shape, top, some, rng)) for _ in range(draws)]
    values["random"] = np.mean(draw, axis=0)
    rows = _make_rows(["nothing", *order, "random"], values, chosen)
    what = "neurons of MLPs" if kind == "mlp" else "channels of heads"
    return Reading(
        tables=[
            TableRecord(
                title=f"Without each prompt's {top} {what} of highest score: means over prompts, "
                "95 % intervals",
                columns=["without the highest by", *(metric.name for metric in chosen), "lost"],
                rows=rows,
            )
        ],
        notes=[f"{score.name}: {score.description}" for score in every],
    )


def _score_neurons(
    model: LanguageModel, prompts: Prompts, kind: Kind, scores: tuple[NeuronScore, ...]
) -> Float[np.ndarray, "scores layers batch neurons"]:
    if kind == "mlp":
        return score_mlp_neurons(model, prompts, scores).scores
    return score_channels(model, prompts, scores)[..., 0]


def _make_rows(
    names: list[str],
    values: dict[str, Float[np.ndarray, "metrics batch"]],
    chosen: tuple[Metric, ...],
) -> list[list[Cell]]:
    """Metrics, and what the last one, the log-probability, loses."""
    rows: list[list[Cell]] = []
    for name in names:
        own = values[name]
        cells = estimate_metrics(chosen, own)
        rows.append([name, *cells, estimate_cell(values["nothing"][-1] - own[-1])])
    return rows
