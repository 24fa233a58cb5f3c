"""Steering: what a model says of prompts when hidden neurons or features have other values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special

from circuitgraph.analysis.interventions import Intervention, find_ends
from circuitgraph.analysis.steering_plan import SteeringPlan, make_plan
from circuitgraph.analysis.unit_choice import AnyDictionary
from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.steering_record import (
    SteeredPromptRecord,
    SteeringRecord,
    TokenRecord,
)
from circuitgraph.engine.batch import check_prompts
from circuitgraph.engine.steering import SteeredRun, continue_greedily, run_steered
from circuitgraph.errors import ArgumentError, DataError, check_between
from circuitgraph.evaluation.behaviour import measure_logits
from circuitgraph.evaluation.intervals import estimate_mean
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.showable import Showable
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task
from circuitgraph.tasks.metrics import Metric, metrics
from circuitgraph.tasks.prompts import Pair, Prompts
from circuitgraph.tasks.tokenise import tokenise_pairs

MOST_NEW_TOKENS = 1_000
_SEED = 0  # of the bootstrap
_TEXT_METRIC = "kl"  # of texts without answers


@dataclass(frozen=True)
class Steering(Showable):
    """What became of prompts.

    Attributes:
        logits_before: at each prompt's scored positions (the last one, most often), as it is.
        logits_after: with the interventions, a run for each strength.
        before, after: the metric of each prompt.
        record: all that is shown and stored.
    """

    logits_before: Float[np.ndarray, "prompts scored vocab"]
    logits_after: Float[np.ndarray, "strengths prompts scored vocab"]
    before: Float[np.ndarray, " prompts"]
    after: Float[np.ndarray, "strengths prompts"]
    record: SteeringRecord


def steer(
    model: LanguageModel,
    prompts: Task | Sequence[str],
    interventions: Sequence[Intervention],
    *,
    dictionaries: Sequence[AnyDictionary] = (),
    metric: str | None = None,
    n_prompts: int | None = None,
    n_top: int = 5,
    n_new: int = 0,
) -> Steering:
    """Run prompts as they are, and with units set, scaled, ablated or added to, all at once.

    What other units and the errors of dictionaries write is not touched: the rows of the changed
    units are added, as often as their values change. Under a post-norm all that the MLP writes is
    normed anew. A unit reads what interventions below it have made of the run.

    Args:
        prompts: a task, of which prompts for judging are drawn; or texts.
        interventions: where one has several values, there are as many runs.
        dictionaries: whose features are named, at most one for each layer; those beside the model
            (`attach_dictionaries`) need not be given.
        metric: the task's if None; of texts the KL divergence from the model as it is.
        n_prompts: of a task: 200 if None, or fewer where a file has fewer.
        n_top: how many of the likeliest tokens are listed.
        n_new: how many tokens of a greedy continuation are written, interventions in place.

    Raises:
        ArgumentError: units that there are not, a unit set twice, values that do not go together,
            or are so large that logits are not finite.
        UnknownNameError: a unit, role or metric of no such name.
        ModelError: a dictionary that does not fit the model.
        DataError: prompts that the model cannot read, or the metric not score.
    """
    batch = _make_prompts(model, prompts, n_prompts)
    chosen = metrics[metric or (prompts.metric if isinstance(prompts, Task) else _TEXT_METRIC)]
    check_prompts(model, batch, chosen)
    check_between("n_top", n_top, 1, model.spec.d_vocab_out)
    _check_new_tokens(model, batch, n_new)
    plan = make_plan(model, batch, interventions, dictionaries, n_new)
    runs = _run_plan(model, batch, plan)
    _check_finite_runs(runs, model.dtype)
    values = [measure_logits(chosen, run.logits, runs[0].logits, batch) for run in runs]
    texts = _continue_texts(model, batch, plan, n_new)
    outcome = _Outcome(batch, plan, chosen, runs, values, texts)
    task = prompts if isinstance(prompts, Task) else None
    record = _make_record(model, task, outcome, n_top)
    logits = np.stack([run.logits for run in runs])
    return Steering(logits[0], logits[1:], values[0], np.stack(values[1:]), record)


class _Outcome(NamedTuple):
    """What is known of all runs; the first item of each list is of the run as it is."""

    prompts: Prompts
    plan: SteeringPlan
    metric: Metric
    runs: list[SteeredRun]
    values: list[Float[np.ndarray, " prompts"]]
    texts: list[list[str]]


def _make_record(
    model: LanguageModel,
    task: Task | None,
    outcome: _Outcome,
    n_top: int,
) -> SteeringRecord:
    metric, (before, *after) = outcome.metric, outcome.values
    return SteeringRecord(
        model=describe_model(model),
        task=None if task is None else describe_task(task, outcome.prompts, "evaluation"),
        environment=describe_environment(model),
        dictionaries=[str(one.spec.reads) for one in outcome.plan.list_dictionaries()],
        metric=metric.name,
        n_prompts=len(outcome.prompts),
        interventions=outcome.plan.describe(outcome.runs),
        before=_estimate_mean(before, metric.is_share),
        after=[_estimate_mean(own, metric.is_share) for own in after],
        change=[_estimate_mean(own - before, False) for own in after],
        prompts=[_describe_prompt(model, outcome, i, n_top) for i in range(len(outcome.prompts))],
    )


def _describe_prompt(
    model: LanguageModel, outcome: _Outcome, number: int, n_top: int
) -> SteeredPromptRecord:
    top = [_list_top(model, run.logits[number, 0], n_top) for run in outcome.runs]
    values = [float(own[number]) for own in outcome.values]
    texts = [run[number] for run in outcome.texts]
    return SteeredPromptRecord(
        text=outcome.prompts.pairs[number].clean,
        before=values[0],
        after=values[1:],
        top_before=top[0],
        top_after=top[1:],
        continuation_before=texts[0] if texts else None,
        continuation_after=texts[1:],
    )


def _make_prompts(
    model: LanguageModel, prompts: Task | Sequence[str], n_prompts: int | None
) -> Prompts:
    if isinstance(prompts, Task):
        return draw_prompts(prompts, "evaluation", n_prompts)
    if n_prompts is not None:
        raise ArgumentError("n_prompts is of a task; of texts all are run: leave it out.")
    if isinstance(prompts, str):
        raise DataError("The prompts are one text. Give a list of texts: [text].")
    return tokenise_pairs([Pair(text, None, None) for text in prompts], model.text_tokenizer)


def _check_new_tokens(model: LanguageModel, prompts: Prompts, n_new: int) -> None:
    """Refuse continuations beyond the context, or of models that predict other tokens."""
    check_between("n_new", n_new, 0, MOST_NEW_TOKENS)
    longest = int(find_ends(prompts).max()) + 1 + n_new
    if n_new and longest > model.spec.n_ctx:
        raise ArgumentError(
            f"n_new is {n_new}, which makes a prompt of {longest} tokens; the model's context is "
            f"{model.spec.n_ctx}."
        )
    if n_new and model.spec.d_vocab_out != model.spec.d_vocab:
        raise ArgumentError(
            f"{model.name!r} predicts other tokens than it reads, so that no prompt goes on: leave "
            "n_new out."
        )


def _run_plan(model: LanguageModel, prompts: Prompts, plan: SteeringPlan) -> list[SteeredRun]:
    """The run as it is, and one for each strength."""
    tokens, mask, score_at = (
        np.concatenate([part] * plan.n_runs)
        for part in (prompts.clean, prompts.mask, prompts.score_at)
    )
    run = run_steered(model.transformer, tokens, mask, score_at, plan.make_steps())
    return run.split(plan.n_runs)


def _check_finite_runs(runs: Sequence[SteeredRun], precision: str) -> None:
    bad = [
        str(i)
        for i, run in enumerate(runs)
        if not all(np.isfinite(values).all() for values in (run.logits, *run.values))
    ]
    if bad and bad[0] != "0":
        raise ArgumentError(
            f"The values of run {', '.join(bad)} of {len(runs) - 1} are too large: what the model "
            f"makes of them is not finite in {precision}. Use smaller ones."
        )
    if bad:
        raise DataError("The model's own logits on these prompts are not finite.")


def _estimate_mean(values: Float[np.ndarray, " prompts"], share: bool) -> Interval | None:
    """The mean with its interval; None of one prompt, which says nothing of others."""
    return estimate_mean(values, _SEED, share=share) if len(values) > 1 else None


def _continue_texts(
    model: LanguageModel, prompts: Prompts, plan: SteeringPlan, n_new: int
) -> list[list[str]]:
    """How each prompt goes on: as it is, and in each run."""
    if not n_new:
        return []
    lengths = find_ends(prompts) + 1
    padded = np.pad(prompts.clean, [(0, 0), (0, n_new)])
    tokens, lengths = (np.concatenate([part] * plan.n_runs) for part in (padded, lengths))
    new = continue_greedily(model.transformer, tokens, lengths, plan.make_steps(), n_new)
    texts = [model.text_tokenizer.decode(ids.tolist()) for ids in new]
    return [texts[i : i + len(prompts)] for i in range(0, len(texts), len(prompts))]


def _list_top(
    model: LanguageModel, logits: Float[np.ndarray, " vocab"], n: int
) -> list[TokenRecord]:
    """The likeliest tokens, with their probabilities."""
    chances = special.softmax(logits.astype(np.float64))
    return [
        TokenRecord(
            text=model.text_tokenizer.decode_answer(int(token)),
            token=int(token),
            probability=float(chances[token]),
        )
        for token in np.argsort(-chances, kind="stable")[:n]
    ]
