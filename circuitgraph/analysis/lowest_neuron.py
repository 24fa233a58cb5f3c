"""The lowest neuron: does an important neuron make the important ones above it stronger?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.neuron_choice import (
    MlpNeurons,
    check_answers,
    choose_deep_layers,
    drop_hidden,
    list_increase,
    list_picked,
    pick_highest,
    score_mlp_neurons,
)
from circuitgraph.analysis.neuron_names import name_neuron
from circuitgraph.analysis.places import check_neurons
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts

Places = list[list[tuple[int, int]]]


@analysis(
    "lowest-neuron",
    source="Yu and Ananiadou 2024b, Comparative Neuron Analysis; the table is reconstructed",
    cannot_tell="that the lowest neuron is special: beside it stands one random neuron of the same "
    "layer, which most often writes less, so that the difference is in part one of size.",
)
def read_lowest_neuron(
    model: LanguageModel,
    prompts: Prompts,
    *,
    top: int = 10,
    layers: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Reading:
    """How much the important neurons above the lowest important one owe to it.

    Of each prompt's ``top`` neurons by log-probability increase the one of the lowest layer is
    masked (the most important one, if several are), and the others in higher layers are scored
    anew, with the divisor of the last norm as it was.

    Args:
        top: how many neurons of each prompt count as important.
        layers: where they are looked for; by default the deeper half.
        seed: of the random neurons.

    Raises:
        ArgumentError: experts or no MLPs, layers or neurons that the model does not have; a single
            layer, above which there is none.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    check_neurons(model, "lowest-neuron")
    some = choose_deep_layers(model.spec, layers)
    if len(some) < 2:
        raise ArgumentError(
            f"layers is {list(some)}: there is no layer above the lowest one. Give at least two."
        )
    check_between("top", top, 2, len(some) * (model.spec.d_mlp or 0))
    check_answers(model, prompts, "lowest-neuron")
    whole = score_mlp_neurons(model, prompts, list_increase())
    importance = whole.scores[0]
    listed = list_picked(pick_highest(importance, top, some), importance)
    # the list is sorted by importance, so that of one layer the most important comes first
    lowest = [min(own, key=lambda place: place[0]) for own in listed]
    above = [[p for p in own if p[0] > low[0]] for own, low in zip(listed, lowest, strict=True)]
    others = _draw_others(lowest, listed, model.spec.d_mlp or 0, seed)
    rows = [_make_row("none", whole, whole, above)]
    for name, masked in (("lowest neuron", lowest), ("random of its layer", others)):
        chosen = np.zeros(importance.shape, bool)
        for row, (layer, neuron) in enumerate(masked):
            chosen[layer, row, neuron] = True
        kept = drop_hidden(model.spec, chosen)
        without = score_mlp_neurons(model, prompts, list_increase(), kept)
        rows.append(_make_row(name, whole, without, above))
    n_above = np.array([len(own) for own in above])
    return Reading(
        tables=[
            TableRecord(
                title=f"Neurons above the lowest of each prompt's {top} most important ones, when "
                "it is masked; means over prompts, 95 % intervals",
                columns=[
                    "masked",
                    "sum of importances",
                    "share lost",
                    "sum of |values|",
                    "share of |values| lost",
                ],
                rows=rows,
            ),
            _count_lowest(lowest, importance),
        ],
        notes=[
            f"On average {n_above.mean():.1f} neurons stand above the lowest one; in "
            f"{int((n_above == 0).sum())} of {len(above)} prompts none does."
        ],
    )


def _draw_others(
    lowest: list[tuple[int, int]], listed: Places, n: int, seed: int
) -> list[tuple[int, int]]:
    """For each prompt a random neuron of the lowest one's layer that is not important."""
    rng, others = np.random.default_rng(seed), []
    for (layer, neuron), own in zip(lowest, listed, strict=True):
        known = {number for place, number in own if place == layer}
        free = [number for number in range(n) if number not in known] or [neuron]
        others.append((layer, int(rng.choice(free))))
    return others


def _make_row(name: str, whole: MlpNeurons, without: MlpNeurons, above: Places) -> list[Cell]:
    before, after = (_sum_above(run, above) for run in (whole, without))
    cells: list[Cell] = [name]
    for i in range(2):
        # the share of all prompts' sums: a prompt's own may have a sum of nearly nothing
        lost = 1 - after[i].sum() / before[i].sum() if before[i].sum() else None
        cells += [estimate_cell(after[i]), lost]
    return cells


def _sum_above(run: MlpNeurons, above: Places) -> Float[np.ndarray, "two batch"]:
    """The importances and the absolute values of each prompt's neurons, summed."""
    sums = np.zeros((2, len(above)))
    for row, places in enumerate(above):
        for layer, neuron in places:
            sums[0, row] += run.scores[0, layer, row, neuron]
            sums[1, row] += abs(run.coefficients[layer, row, neuron])
    return sums


def _count_lowest(
    lowest: list[tuple[int, int]], importance: Float[np.ndarray, "layers batch d_mlp"]
) -> TableRecord:
    """Which neurons are the lowest, and in how many prompts."""
    names = sorted(set(lowest), key=lambda place: -lowest.count(place))[:10]
    rows: list[list[Cell]] = []
    for layer, neuron in names:
        own = [row for row, place in enumerate(lowest) if place == (layer, neuron)]
        mean = float(importance[layer, own, neuron].mean())
        rows.append([name_neuron((layer, neuron)), len(own), mean])
    return TableRecord(
        title="The lowest neurons, most frequent first",
        columns=["neuron", "prompts", "importance there"],
        rows=rows,
    )
