"""Quantisation around super weights: clip, round to the nearest, and put the super weights back."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell, estimate_share
from circuitgraph.analysis.text_effects import TextMeasure
from circuitgraph.analysis.weight_spikes import locate_weights, search_super_weights
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.readings.rounding import measure_error, restore_weights, round_network
from circuitgraph.engine.readings.super_weights import TextEffects, WeightPlaces
from circuitgraph.errors import ArgumentError, DataError, check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.prompts import Prompts

Losses = Float[np.ndarray, " batch"]


@analysis(
    "super-weight-rounding",
    source="Yu et al. 2024",
    cannot_tell="how a quantiser that looks at activations would do; and rounded weights are run "
    "in full precision, so that nothing is said of speed.",
)
def read_super_weight_rounding(
    model: LanguageModel,
    prompts: Prompts,
    bar: bool = False,
    *,
    bits: int = 4,
    blocks: tuple[int, ...] = (64, 1024, 16384, 0),
    clip: float = 20.0,
    ratio: float = 10.0,
    most: int = 6,
) -> Reading:
    """Loss after rounding all weights of attention and MLPs to the nearest of a few numbers: as
    they are, with outliers clipped, and with the super weights put back.

    Args:
        bits: of a rounded number.
        blocks: how many neighbouring weights share a scale, one row each; 0 for a whole matrix.
        clip: outliers are moved to that many standard deviations from their matrix's mean.
        ratio, most: of the search for super weights, as of ``super-weights``.

    Raises:
        ArgumentError: a model without MLPs or with a mixture of experts; settings out of range.
        DataError: prompts that the model cannot read, or without next tokens and answers.
    """
    check_between("bits", bits, 1, 16)
    for block in blocks:
        check_at_least("a block", block, 0)
    if not blocks or clip <= 0:
        raise ArgumentError(
            f"blocks is {list(blocks)} and clip {clip}: give a block, and clip > 0."
        )
    _, removed = search_super_weights(model, prompts, ratio=ratio, most=most)
    places, measure = locate_weights(removed), TextMeasure.of(model, prompts)
    whole = choose_loss(measure.measure(model.transformer))
    rows: list[list[Cell]] = []
    with show_progress(len(blocks), "rounding", "block", bar=bar) as progress:
        for block in blocks:
            rows.append(_measure_block(model, measure, whole, places, (bits, block, clip)))
            progress.advance()
    names = ", ".join(f"[{s.layer}, {s.row}, {s.column}]" for s in removed)
    return Reading(
        tables=[
            TableRecord(
                title=f"Loss after rounding to {bits} bits, before: {whole.mean():.3f}; clipped at "
                f"{clip:g} standard deviations, and with super weights restored after it",
                columns=["block", "squared error", "naive", "clipped", "restored", "gap closed"],
                rows=rows,
            )
        ],
        notes=[f"Super weights: {names or 'none were seen, so that nothing is restored'}."],
    )


def _measure_block(
    model: LanguageModel,
    measure: TextMeasure,
    whole: Losses,
    places: WeightPlaces,
    rounding: tuple[int, int, float],
) -> list[Cell]:
    bits, block, clip = rounding
    original = model.transformer
    naive, clipped = (round_network(original, bits, block, at) for at in (None, clip))
    networks = (naive, clipped, restore_weights(clipped, original, places))
    losses = [choose_loss(measure.measure(network)) for network in networks]
    return [
        block or "matrix",
        float(measure_error(naive, original)),
        *(estimate_cell(values) for values in losses),
        estimate_closed(whole, losses[0], losses[2]),
    ]


def choose_loss(effects: TextEffects) -> Losses:
    """The loss of next tokens; where the model predicts no tokens, of the answers.

    Raises:
        DataError: there is neither.
    """
    loss, answer = np.asarray(effects.loss), np.asarray(effects.answer)
    chosen = answer if np.isnan(loss).any() else loss
    if np.isnan(chosen).any():
        raise DataError("Prompts of one token without answers have no loss: use longer ones.")
    return chosen


def estimate_closed(whole: Losses, naive: Losses, restored: Losses) -> Cell:
    """(naive - restored) / (naive - whole) of mean losses; None where rounding does no harm."""
    if naive.mean() <= whole.mean():
        return None
    return estimate_share(naive, whole, restored)
