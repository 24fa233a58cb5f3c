"""Super weights: single weights without which a model says little but stop words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import make_series
from circuitgraph.analysis.text_effects import COLUMNS, STOP_WORDS, TextMeasure
from circuitgraph.analysis.weight_spikes import LayerSpike, locate_weights, search_super_weights
from circuitgraph.catalog.analysis_record import Cell, CurvesRecord, Reading, TableRecord
from circuitgraph.engine.readings.super_weights import TextEffects, WeightPlaces, scale_weights
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@analysis(
    "super-weights",
    source="Yu et al. 2024",
    cannot_tell="what the spikes are for, or what a model would have learned without them; and "
    "spikes of which no single weight makes half are passed over.",
)
def read_super_weights(
    model: LanguageModel,
    prompts: Prompts,
    *,
    ratio: float = 10.0,
    most: int = 6,
    scales: tuple[float, ...] = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0),
    stop_words: tuple[str, ...] = STOP_WORDS,
    others: int = 100,
) -> Reading:
    """Output weights of MLPs through which a spike passes, and what the model is without them.

    Args:
        ratio: how many times as much as the median layer a layer must read and write at once to
            have a spike.
        most: weights to look for, each after those before it were removed.
        scales: factors of the curve, of all of them together.
        stop_words: whose probability is watched; those that are one token of the model count.
        others: how many of the largest other output weights are removed for comparison.

    Raises:
        ArgumentError: a model without MLPs, or with a mixture of experts; settings out of range.
        DataError: prompts that the model cannot read.
    """
    check_at_least("most", most, 1)
    check_at_least("others", others, 1)
    if ratio <= 1:
        raise ArgumentError(f"ratio is {ratio}, but must be above 1: the median layer has 1.")
    spikes, removed = search_super_weights(model, prompts, ratio=ratio, most=most)
    if not removed:
        note = f"No layer reads and writes {ratio:g} times as much as the median layer."
        return Reading(tables=[_make_spike_table(spikes)], notes=[note])
    measure = TextMeasure.of(model, prompts, stop_words)
    cases = _measure_cases(model, measure, removed, others)
    whole, places = model.transformer, locate_weights(removed)
    curve = [measure.measure(scale_weights(whole, places, scale)) for scale in scales]
    names = [repr(model.text_tokenizer.decode([int(i)])) for i in measure.stop_words]
    return Reading(
        tables=[
            _make_weight_table(model, prompts, removed),
            TableRecord(
                title="Loss of the prompts' own next tokens, probability of all stop words at "
                "scored positions, and loss of the answer",
                columns=["model", *COLUMNS],
                rows=[[name, *measure.make_cells(effects)] for name, effects in cases.items()],
            ),
            _make_spike_table(spikes),
        ],
        pictures=_draw_scales(scales, curve),
        notes=[f"Stop words: {', '.join(names) or 'none of them is one token of this model'}."],
    )


def _measure_cases(
    model: LanguageModel, measure: TextMeasure, removed: Sequence[LayerSpike], others: int
) -> dict[str, TextEffects]:
    """The whole model, without its super weights, with their activations, without other weights."""
    whole, places = model.transformer, locate_weights(removed)
    cases = {"whole": measure.measure(whole)}
    for k in range(1, len(removed) + 1):
        without = scale_weights(whole, locate_weights(removed[:k]), 0.0)
        cases[f"without the first {k}"] = measure.measure(without)
    without = scale_weights(whole, places, 0.0)
    cases["without, activations restored"] = measure.measure_restored(whole, without, places)
    rivals = scale_weights(whole, find_largest_others(model, places, others), 0.0)
    cases[f"without {others} other large ones"] = measure.measure(rivals)
    return cases


def find_largest_others(model: LanguageModel, places: WeightPlaces, n: int) -> WeightPlaces:
    """The largest output weights of all MLPs that are not among these."""
    weights = model.transformer.blocks.mlp.w_out  # pyright: ignore[reportOptionalMemberAccess]
    sizes = np.abs(np.array(weights, np.float32))  # [layers, d, d_mlp]
    sizes[tuple(places)] = -1.0
    n = min(n, sizes.size - len(places.layers))
    largest = np.argpartition(sizes, sizes.size - n, axis=None)[sizes.size - n :]
    return WeightPlaces(*(axis.astype(np.int32) for axis in np.unravel_index(largest, sizes.shape)))


def _make_weight_table(
    model: LanguageModel, prompts: Prompts, removed: Sequence[LayerSpike]
) -> TableRecord:
    rows: list[list[Cell]] = []
    for spike in removed:
        token = int(prompts.clean[spike.prompt, spike.position])
        where = f"{spike.position}: {model.text_tokenizer.decode([token])!r}"
        rows.append(
            [
                f"[{spike.layer}, {spike.row}, {spike.column}]",
                *(spike.weight, spike.read, spike.written, spike.share, where),
            ]
        )
    return TableRecord(
        title="Super weights as [layer, row, column] of torch's down projection; the largest "
        "number that their MLP reads and writes, the share of it that they make, and where",
        columns=["weight", "value", "read", "written", "share", "position: token"],
        rows=rows,
    )


def _make_spike_table(spikes: Sequence[LayerSpike]) -> TableRecord:
    return TableRecord(
        title="The largest numbers that each MLP's output weights read and write, and how many "
        "times the median layer's they are",
        columns=["layer", "column", "read", "times", "row", "written", "times"],
        rows=[
            [s.layer, s.column, s.read, s.read_ratio, s.row, s.written, s.written_ratio]
            for s in spikes
        ],
    )


def _draw_scales(scales: Sequence[float], curve: Sequence[TextEffects]) -> list[CurvesRecord]:
    if not scales:
        return []
    parts = {
        "loss of the next tokens": [effects.loss for effects in curve],
        "probability of stop words": [effects.stop_words for effects in curve],
    }
    return [
        CurvesRecord(
            title=f"{name.capitalize()} with all super weights multiplied",
            x_axis="factor",
            y_axis=name,
            x=list(scales),
            series=[make_series(name, np.stack(values))],
        )
        for name, values in parts.items()
    ]
