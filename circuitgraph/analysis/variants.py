"""Prompts with some of their tokens exchanged: what is exchanged, and how they are answered."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.measuring import PROPERTIES, choose_metrics
from circuitgraph.analysis.places import check_corrupted
from circuitgraph.engine.batch import check_prompts, make_batch
from circuitgraph.engine.readings.answers import run_answers
from circuitgraph.errors import DataError, check_between, check_choice
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.progress import show_progress
from circuitgraph.tasks.metrics import Metric, metrics
from circuitgraph.tasks.prompts import Prompts, TokenizerLike

_AT_ONCE = 64


def choose_metric(model: LanguageModel, prompts: Prompts, name: str | None) -> Metric:
    """The metric of that name, or the first of `PROPERTIES` that these prompts allow.

    Raises:
        ArgumentError: a metric that is none of the answer alone.
        DataError: the metric cannot score the prompts, or the model cannot read them.
    """
    if name is None:
        return choose_metrics(model, prompts)[0]
    metric = metrics[check_choice("metric", name, PROPERTIES)]
    check_prompts(model, prompts, metric)
    return metric


def measure_variants(
    model: LanguageModel,
    prompts: Prompts,
    rows: Int[np.ndarray, " variants"],
    tokens: Int[np.ndarray, "variants pos"],
    metric: Metric,
    *,
    bar: bool = False,
) -> tuple[Float[np.ndarray, " variants"], Int[np.ndarray, " variants"]]:
    """The metric of each variant of a prompt, and what the model says.

    Args:
        rows: whose variant each is; it is scored as that prompt.
        tokens: the variants.
    """
    values, says, at_once = [], [], min(_AT_ONCE, len(rows))
    with show_progress(len(rows), "prompts with other tokens", "prompt", bar=bar) as progress:
        for start in range(0, len(rows), at_once):
            part = np.arange(start, start + at_once) % len(rows)  # filled up: one program
            batch = make_batch(prompts, rows[part])
            exchanged = jax.device_put(tokens[part].astype(np.int32))
            batch = batch._replace(inputs=batch.inputs._replace(tokens=exchanged), corrupted=None)
            run = run_answers(model.transformer, batch, metric)
            values.append(np.asarray(run.values, np.float64))
            says.append(np.asarray(run.says))
            progress.advance(min(at_once, len(rows) - start))
    return np.concatenate(values)[: len(rows)], np.concatenate(says)[: len(rows)]


def count_read(prompts: Prompts, number: int) -> int:
    """How many tokens of a prompt are read before its answer is; of several, the last one."""
    scored = prompts.score_at.reshape(len(prompts), -1)[number]
    return int(scored[0] if prompts.scores == "tokens" else scored.max()) + 1


def check_number(prompts: Prompts, number: int) -> int:
    """``number`` itself, if there is such a prompt."""
    return check_between("number", number, 0, len(prompts) - 1)


def find_absent(
    model: LanguageModel, prompts: Prompts, number: int, text: str | None
) -> Int[np.ndarray, " pos"]:
    """What stands at each position of a prompt for a token that is absent: a given token, or what
    the corrupted prompt has there.

    Raises:
        DataError: the text is not one token, or the prompts have no counterparts.
    """
    clean = prompts.clean[number]
    if text is not None:
        return np.array([encode_one(model.text_tokenizer, text, int(token)) for token in clean])
    check_corrupted(prompts, "Without a given token, this method")
    assert prompts.corrupted is not None  # noqa: S101 - just checked
    return prompts.corrupted[number]


def encode_one(tokenizer: TokenizerLike, text: str, like: int) -> int:
    """The one token of a text, with a space in front where the token ``like`` has one.

    Raises:
        DataError: it is not one token, with or without the space.
    """
    spaced = f" {text.strip()}"
    forms = [spaced, text] if tokenizer.decode([like]).startswith(" ") else [text, spaced]
    for form in forms:
        ids = tokenizer.encode(form)
        if len(ids) == 1 and ids[0] != tokenizer.unknown_id:
            return ids[0]
    raise DataError(f"{text!r} is not one token of this model: name words that are.")
