"""Masked and kept neurons: do the few most important ones carry the task, or is it all of them?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import choose_metrics, estimate_metrics, make_series
from circuitgraph.analysis.neuron_choice import (
    check_answers,
    check_several_answers,
    choose_deep_layers,
    drop_hidden,
    list_increase,
    measure_knocked_out,
    pick_highest,
    pick_random,
    score_mlp_neurons,
)
from circuitgraph.analysis.places import check_neurons
from circuitgraph.catalog.analysis_record import Cell, CurvesRecord, Reading, TableRecord
from circuitgraph.errors import check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_COUNTS = (1, 10, 30, 99, 300)  # by default, those that the layers have
_METRICS = ("accuracy", "probability", "log_probability")

Chosen = Bool[np.ndarray, "layers batch d_mlp"]
Values = Float[np.ndarray, "metrics batch"]
Choice = Callable[[int], list[Chosen]]


@analysis(
    "mask-neurons",
    source="Yu and Ananiadou 2024b, Comparative Neuron Analysis",
    cannot_tell="that the kept neurons do the task by themselves: attention, other layers and "
    "biases stay as they are, and may do most of it, as the row where all are masked shows.",
)
def read_neuron_masks(
    model: LanguageModel,
    prompts: Prompts,
    *,
    counts: tuple[int, ...] | None = None,
    layers: tuple[int, ...] | None = None,
    together: bool = False,
    draws: int = 3,
    seed: int = 0,
) -> Reading:
    """Accuracy with the n most important neurons masked, and with them alone kept, beside random n.

    Importance is the log-probability increase, as in ``compare-neurons``. Masked neurons are zero
    at all positions; kept ones are those of some layers that stay, the layers' others are masked.

    Args:
        counts: the n to try; by default those of 1, 10, 30, 99 and 300 that the layers have.
        layers: whose neurons are masked; by default the deeper half.
        together: the same neurons for all prompts, by mean importance; else each prompt's own.
        draws: how often random neurons are drawn; each prompt's values are their means.
        seed: of the draws.

    Raises:
        ArgumentError: experts or no MLPs, layers or counts that the model does not have.
        DataError: prompts that the model cannot read, or that all have one answer.
    """
    check_neurons(model, "mask-neurons")
    some = choose_deep_layers(model.spec, layers)
    numbers = _choose_counts(counts, len(some) * (model.spec.d_mlp or 0))
    check_at_least("draws", draws, 1)
    check_answers(model, prompts, "mask-neurons")
    check_several_answers(prompts, "mask-neurons")
    importance = score_mlp_neurons(model, prompts, list_increase()).scores[0]
    if together:
        importance = np.repeat(importance.mean(1, keepdims=True), len(prompts), axis=1)
    rng = np.random.default_rng(seed)
    choices: dict[str, Choice] = {
        "top": lambda n: [pick_highest(importance, n, some)],
        "random": lambda n: [pick_random(importance.shape, n, some, rng) for _ in range(draws)],
    }
    every = np.zeros(importance.shape, bool)
    every[list(some)] = True
    return _compare_masks(model, prompts, choices, numbers, every, together)


def _choose_counts(counts: tuple[int, ...] | None, most: int) -> tuple[int, ...]:
    if counts is None:
        return tuple(n for n in _COUNTS if n <= most)
    for n in counts:
        check_between("counts", n, 1, most)
    check_at_least("the number of counts", len(counts), 1)
    return tuple(sorted(set(counts)))


def _compare_masks(
    model: LanguageModel,
    prompts: Prompts,
    choices: dict[str, Choice],
    numbers: tuple[int, ...],
    every: Chosen,
    together: bool,
) -> Reading:
    chosen = choose_metrics(model, prompts, _METRICS)

    def measure(masks: list[Chosen]) -> Values:
        runs = [
            measure_knocked_out(model, prompts, chosen, drop_hidden(model.spec, mask))
            for mask in masks
        ]
        return np.mean(runs, axis=0)

    n_all = int(every[:, 0].sum())
    values = {
        ("none", "masked", 0): measure([np.zeros_like(every)]),
        ("all", "masked", n_all): measure([every]),
    }
    for n in numbers:
        for name, choose in choices.items():
            masks = choose(n)
            values[name, "masked", n] = measure(masks)
            values[name, "kept", n] = measure([every & ~mask for mask in masks])
    layers = ", ".join(map(str, np.flatnonzero(every.any(axis=(1, 2)))))
    whose = "of the mean over prompts" if together else "of each prompt's own"
    title = (
        f"Neurons of layers {layers} masked, or all but them, {whose} importance; means over "
        "prompts, 95 % intervals"
    )
    return Reading(
        tables=[_make_table(title, values, chosen)],
        pictures=[_draw_accuracy(layers, values, chosen[0].name, list(choices), numbers)],
    )


def _make_table(
    title: str, values: dict[tuple[str, str, int], Values], chosen: tuple[Metric, ...]
) -> TableRecord:
    rows: list[list[Cell]] = []
    for (name, done, n), own in values.items():
        rows.append([f"{name} {done}", n, *estimate_metrics(chosen, own)])
    columns = ["neurons", "n", *(metric.name for metric in chosen)]
    return TableRecord(title=title, columns=columns, rows=rows)


def _draw_accuracy(
    layers: str,
    values: dict[tuple[str, str, int], Values],
    metric: str,
    names: list[str],
    numbers: tuple[int, ...],
) -> CurvesRecord:
    """The first metric over n."""
    series = [
        make_series(
            f"{name} n {done}", np.stack([values[name, done, n][0] for n in numbers]), share=True
        )
        for done in ("masked", "kept")
        for name in names
    ]
    return CurvesRecord(
        title=f"{metric} with n neurons of layers {layers} masked, or kept alone",
        x_axis="n",
        y_axis=metric,
        x=list(numbers),
        series=series,
    )
