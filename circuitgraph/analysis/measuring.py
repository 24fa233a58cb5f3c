"""How analyses measure answers: runs of all prompts, metrics of them, means and rankings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.analysis_record import Cell, SeriesRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.batch import check_prompts, check_tokens
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.errors import DataError
from circuitgraph.evaluation.baselines import compute_faithfulness
from circuitgraph.evaluation.intervals import estimate_from_means, estimate_mean
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

NO_DIFFERENCE = 1e-6  # of two means, below which no share of it can be said


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


def collect_runs(
    prompts: Prompts, at_once: int, run: Callable[[slice], Any], axis: int = -1
) -> Any:
    """What the runs of all prompts give, some prompts at a time: numpy arrays, numbers in float64.

    Args:
        run: from some rows of the prompts to an array, or to several.
        axis: of prompts, in each of the arrays.
    """

    def join(*parts: Any) -> np.ndarray:
        joined = np.concatenate([np.asarray(part) for part in parts], axis)
        return joined.astype(np.float64) if jnp.issubdtype(joined.dtype, jnp.floating) else joined

    return jax.tree.map(join, *(run(rows) for rows in cut_prompts(prompts, at_once)))


def rank_places(scores: Float[np.ndarray, "*axes"], top: int) -> list[tuple[int, ...]]:
    """Where the highest scores stand, the highest first; numbers that are not finite last."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=None, kind="stable")[:top]
    return [tuple(map(int, np.unravel_index(place, scores.shape))) for place in order]


def estimate_cell(sample: Float[np.ndarray, " batch"], *, share: bool = False) -> Cell:
    """The mean over prompts with its interval; a plain number where there is one prompt, or a value
    is not finite.

    Args:
        share: as of `estimate_mean`.
    """
    if len(sample) < 2 or not np.isfinite(sample).all():
        return float(sample.mean(dtype=np.float64))
    return estimate_mean(sample.astype(np.float64), 0, share=share)


def estimate_metrics(
    metrics: Sequence[Metric], values: Float[np.ndarray, "metrics batch"]
) -> list[Cell]:
    """`estimate_cell` of each metric."""
    pairs = zip(metrics, values, strict=True)
    return [estimate_cell(sample, share=metric.is_share) for metric, sample in pairs]


def estimate_share(
    start: Float[np.ndarray, " batch"],
    end: Float[np.ndarray, " batch"],
    values: Float[np.ndarray, " batch"],
) -> Cell:
    """(values - start) / (end - start) of means over prompts, with its interval; None where both
    ends are the same, and a plain number where there is one prompt.
    """
    samples = np.stack([start, end, values]).astype(np.float64)
    means = samples.mean(axis=1, keepdims=True)
    if abs(means[1, 0] - means[0, 0]) < NO_DIFFERENCE:
        return None
    if samples.shape[1] < 2:
        return float(compute_faithfulness(means)[0])
    return estimate_from_means(compute_faithfulness, samples, 0)


def make_series(
    name: str, samples: Float[np.ndarray, "n batch"], *, share: bool = False
) -> SeriesRecord:
    """A curve of means over prompts, with the ends of their intervals as its band."""
    cells = [estimate_cell(sample, share=share) for sample in samples]
    bounds = [(cell.low, cell.high) for cell in cells if isinstance(cell, Interval)]
    y = samples.mean(axis=1, dtype=np.float64).tolist()
    if len(bounds) < len(cells):  # one prompt, or values that are not finite
        return SeriesRecord(name=name, y=y)
    return SeriesRecord(name=name, y=y, low=[a for a, _ in bounds], high=[b for _, b in bounds])
