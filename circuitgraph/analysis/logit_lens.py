"""The logit lens: what the model would say if it ended after each layer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import (
    PROPERTIES,
    choose_metrics,
    estimate_cell,
    estimate_metrics,
    make_series,
)
from circuitgraph.analysis.places import SCORED, find_positions
from circuitgraph.catalog.analysis_record import (
    Cell,
    CurvesRecord,
    HeatmapRecord,
    Reading,
    TableRecord,
)
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.masked.runs import cut_prompts
from circuitgraph.engine.readings.lens import run_lens, run_lens_everywhere
from circuitgraph.errors import DataError, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts

_AT_ONCE = 16  # prompts whose logits are alive at a time


@analysis(
    "logit-lens",
    source="nostalgebraist 2020",
    cannot_tell="whether a layer caused, or later layers use, what can be read after it; and a "
    "direction that the unembedding does not read may carry the answer all the while.",
)
def read_logit_lens(
    model: LanguageModel, prompts: Prompts, *, at: str | int = SCORED, top: int = 3
) -> Reading:
    """What the model would say if it ended after each layer: its last norm and unembedding applied
    to the residual stream there.

    The divisor of the norm is that of the stream at hand, and a soft cap is applied, so that after
    the last layer these are the model's own numbers.

    Args:
        at: where to read: ``scored``, a role of the task, or a position (from the end if negative).
        top: how many of the likeliest tokens to show, of the first prompt.

    Raises:
        DataError: prompts that the model cannot read; several scored positions, but another ``at``.
    """
    check_between("top", top, 1, model.spec.d_vocab_out)
    metrics = choose_metrics(model, prompts, (*PROPERTIES, "kl"))
    places = find_positions(prompts, at).astype(np.int32)
    if at != SCORED and prompts.n_scored > 1:
        raise DataError(f"The prompts have several scored positions: read those, not {at!r}.")
    values, tops = [], []
    for rows in cut_prompts(prompts, _AT_ONCE):
        batch = make_batch(prompts, rows)
        batch = batch._replace(inputs=batch.inputs._replace(score_at=places[rows]))
        run = run_lens(model.transformer, batch, metrics, top)
        values.append(np.asarray(run.values, np.float64))
        tops.append(np.asarray(run.top))
    # prompts are the last axis of the values, the second one of the tokens
    measured, likeliest = np.concatenate(values, axis=2), np.concatenate(tops, axis=1)
    return Reading(
        tables=[
            _make_metric_table(model, metrics, measured),
            _make_token_table(model, prompts, likeliest),
        ],
        pictures=[_draw_metric(model, metrics, measured), _draw_prompt(model, prompts)],
    )


def name_streams(n_layers: int) -> list[str]:
    """Names of the stream before the first layer and after each layer."""
    return ["embedding", *(f"layer {layer}" for layer in range(n_layers))]


def _make_metric_table(
    model: LanguageModel,
    metrics: tuple[Metric, ...],
    values: Float[np.ndarray, "streams metrics batch"],
) -> TableRecord:
    rows = [
        [name, *estimate_metrics(metrics, stream)]
        for name, stream in zip(name_streams(model.spec.n_layers), values, strict=True)
    ]
    return TableRecord(
        title="Read after each layer: means over prompts, 95 % intervals",
        columns=["after", *(metric.name for metric in metrics)],
        rows=rows,
    )


def _make_token_table(
    model: LanguageModel, prompts: Prompts, top: Int[np.ndarray, "streams batch scored n_top"]
) -> TableRecord:
    agrees = (top[..., 0] == top[-1, ..., 0]).all(axis=2)  # [streams, batch]
    rows: list[list[Cell]] = []
    for stream, name in enumerate(name_streams(model.spec.n_layers)):
        words = [model.text_tokenizer.decode_answer(int(token)) for token in top[stream, 0, 0]]
        same = estimate_cell(agrees[stream].astype(np.float64), share=True)
        rows.append([name, ", ".join(map(repr, words)), same])
    return TableRecord(
        title=f"The likeliest tokens after {prompts.pairs[0].clean[-40:]!r}, and how often the "
        "likeliest is what the model says in the end",
        columns=["after", "likeliest tokens", "as in the end"],
        rows=rows,
    )


def _draw_metric(
    model: LanguageModel,
    metrics: tuple[Metric, ...],
    values: Float[np.ndarray, "streams metrics batch"],
) -> CurvesRecord:
    metric = metrics[0]
    return CurvesRecord(
        title=f"{metric.name} read after each layer (-1: the embedding)",
        x_axis="layer",
        y_axis=metric.name,
        x=list(range(-1, model.spec.n_layers)),
        series=[make_series(metric.name, values[:, 0], share=metric.is_share)],
    )


def _draw_prompt(model: LanguageModel, prompts: Prompts) -> HeatmapRecord:
    """The first prompt, position by position."""
    run = run_lens_everywhere(model.transformer, make_batch(prompts, slice(1)).inputs)
    n_tokens = int(prompts.mask[0].sum())
    tokenizer, tokens = model.text_tokenizer, prompts.clean[0, :n_tokens]
    said = [tokenizer.decode_answer(int(token)) for token in np.asarray(run.said)[0, :n_tokens]]
    read = [tokenizer.decode([int(token)]) for token in tokens]
    return HeatmapRecord(
        title="The first prompt: the probability, after each layer, of what the model says in the "
        "end",
        unit="probability",
        row_axis="after",
        column_axis="position: token > what the model says",
        row_labels=name_streams(model.spec.n_layers),
        column_labels=[f"{i}: {a} > {b}" for i, (a, b) in enumerate(zip(read, said, strict=True))],
        values=np.asarray(run.share, np.float64)[:, 0, :n_tokens].tolist(),
    )
