"""How analyses measure answers: several metrics of the same logits, each with its mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.analysis_record import Cell, SeriesRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import check_prompts, check_tokens
from circuitgraph.errors import DataError
from circuitgraph.evaluation.intervals import estimate_mean
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric, metrics
from circuitgraph.tasks.prompts import Prompts

# Metrics of the answer, and what to know of each before patching by it (Heimersheim and Nanda 2024,
# "How to use and interpret activation patching", section 4).
PROPERTIES = {
    "logit_difference": "linear in the final stream; blind to what raises both answers alike",
    "logit": "linear; also moves when all logits move together, which changes no prediction",
    "log_probability": "near its ceiling it cannot rise; falls too when third tokens rise",
    "probability": "not linear: flat near 0 and 1, so small effects vanish there",
    "accuracy": "jumps; blind to all that changes no prediction",
    "rank": "jumps; large where the answer was far from the top, small where it was near",
}


def choose_metrics(
    model: LanguageModel, prompts: Prompts, names: Sequence[str] = tuple(PROPERTIES)
) -> tuple[Metric, ...]:
    """Those of these metrics by which the prompts can be scored.

    Raises:
        DataError: none of them can score these prompts, or the model cannot read them.
    """
    check_tokens(model.spec, prompts)
    chosen, problem = [], None
    for name in names:
        try:
            check_prompts(model, prompts, metrics[name])
            chosen.append(metrics[name])
        except DataError as error:
            problem = error
    if problem is not None and not chosen:
        raise problem
    return tuple(chosen)


def estimate_cell(sample: Float[np.ndarray, " batch"], *, share: bool = False) -> Cell:
    """The mean over prompts with its interval; a plain number where there is one prompt, or a value
    is not finite.

    Args:
        share: as of `estimate_mean`.
    """
    if len(sample) < 2 or not np.isfinite(sample).all():
        return float(sample.mean())
    return estimate_mean(sample.astype(np.float64), 0, share=share)


def make_series(
    name: str, samples: Float[np.ndarray, "n batch"], *, share: bool = False
) -> SeriesRecord:
    """A curve of means over prompts, with the ends of their intervals as its band."""
    cells = [estimate_cell(sample, share=share) for sample in samples]
    bounds = [(cell.low, cell.high) for cell in cells if isinstance(cell, Interval)]
    y = samples.mean(axis=1).tolist()
    if len(bounds) < len(cells):  # one prompt, or values that are not finite
        return SeriesRecord(name=name, y=y)
    return SeriesRecord(name=name, y=y, low=[a for a, _ in bounds], high=[b for _, b in bounds])
