"""The record of a scrub: what its trials gave, beside what was run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from circuitgraph.catalog.hypothesis_record import HypothesisRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ComparedRecord, ScrubRecord
from circuitgraph.engine.tree.run import Outcome
from circuitgraph.errors import HypothesisError
from circuitgraph.evaluation.intervals import estimate_mean, estimate_proportion
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.scrubbing.losses import Losses, average_worst_tenth
from circuitgraph.hypotheses.scrubbing.per_node import (
    record_classes,
    record_harshest,
    record_nodes,
    record_splits,
)
from circuitgraph.hypotheses.scrubbing.prepared import PreparedScrub
from circuitgraph.hypotheses.scrubbing.trials import MODEL, RANDOM_PROMPTS, SCRUBBED, TrialKey
from circuitgraph.hypotheses.scrubbing.verdict import (
    ZERO_POINT,
    judge_recovery,
    list_undonored,
    write_notes,
)
from circuitgraph.hypotheses.writing.stored import store_hypothesis
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task

Outcomes = Mapping[TrialKey, Outcome]


def make_record(scrub: PreparedScrub, outcomes: Outcomes) -> ScrubRecord:
    """All that was measured, as it is stored.

    Raises:
        HypothesisError: the model does no better than chance.
    """
    evidence, study = scrub.evidence, scrub.evidence.study
    hypothesis, file = study.hypothesis, Path(study.hypothesis.location.file)
    n, seed, donors = len(evidence.batch), evidence.seed, scrub.donors[SCRUBBED]
    losses = Losses({key: evidence.compute_losses(one) for key, one in outcomes.items()}, seed)
    losses.check_behaviour(evidence.metric)
    recovered = losses.loss_recovered(SCRUBBED)
    changes = np.abs(losses.by_trial[SCRUBBED] - losses.by_trial[MODEL])
    deviation = estimate_mean(changes, seed)
    to_recover = losses.mean_loss(RANDOM_PROMPTS).mean - losses.mean_loss(MODEL).mean
    classes = record_classes(scrub.root, scrub.sampler)
    rivals, nulls = (_compare_trials(kind, outcomes, losses) for kind in ("rival", "null"))
    verdict = judge_recovery(
        hypothesis.name,
        recovered,
        rivals,
        nulls,
        list_undonored(classes),
        is_bounded=_expects_share(hypothesis),
    )
    same_answers = outcomes[SCRUBBED].top == outcomes[MODEL].top
    layouts = evidence.layouts
    return ScrubRecord(
        hypothesis=hypothesis.name,
        file=file.name,
        file_sha256=_hash_file(file),
        stored=_store_if_possible(hypothesis),
        model=describe_model(study.model),
        task=describe_task(study.task, evidence.batch.tokens, "evaluation"),
        environment=describe_environment(study.model),
        metric=evidence.metric,
        unclaimed=scrub.sampler.unclaimed,
        align=hypothesis.align,
        seed=seed,
        n=n,
        zero_point=ZERO_POINT,
        loss_model=losses.mean_loss(MODEL),
        loss_random=losses.mean_loss(RANDOM_PROMPTS),
        loss_scrubbed=losses.mean_loss(SCRUBBED),
        recovered=recovered,
        standard_error=losses.standard_error(SCRUBBED),
        accuracy_model=_measure_accuracy(outcomes[MODEL]),
        accuracy_random=_measure_accuracy(outcomes[RANDOM_PROMPTS]),
        accuracy_scrubbed=_measure_accuracy(outcomes[SCRUBBED]),
        agreement=estimate_proportion(int(np.sum(same_answers)), n),
        deviation=deviation,
        worst_decile=average_worst_tenth(changes, seed),
        other_layout=float(
            np.mean([layouts[indices] != layouts for indices in donors.list_inputs()])
        ),
        classes=classes,
        splits=record_splits(evidence, losses),
        nodes=record_nodes(evidence, scrub.root, donors, losses),
        harshest=record_harshest(evidence, scrub.root, losses),
        rivals=rivals,
        nulls=nulls,
        nulls_left_out=scrub.nulls_left_out,
        notes=write_notes(classes, recovered, deviation.mean / to_recover),
        held=verdict.held,
        outcome=verdict.word,
        verdict=verdict.summary,
        cost=scrub.cost,
    )


def _hash_file(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _expects_share(hypothesis: Hypothesis) -> bool:
    """Whether the file says how much must be left when all it does not claim is resampled."""
    shares = ("loss_recovered", "scrubbed_accuracy")
    return any(e.quantity in shares and e.at_least is not None for e in hypothesis.expectations)


def _store_if_possible(hypothesis: Hypothesis) -> HypothesisRecord | None:
    try:
        return store_hypothesis(hypothesis)
    except HypothesisError:  # the text of a function is not in any file
        return None


def _compare_trials(kind: str, outcomes: Outcomes, losses: Losses) -> list[ComparedRecord]:
    """The trials of one kind beside the hypothesis's own."""
    return [
        ComparedRecord(
            name=key[1],
            loss=losses.mean_loss(key),
            recovered=losses.loss_recovered(key),
            standard_error=losses.standard_error(key),
            accuracy=_measure_accuracy(outcome),
            difference=losses.compare_trials(SCRUBBED, key),
        )
        for key, outcome in outcomes.items()
        if key[0] == kind
    ]


def _measure_accuracy(outcome: Outcome) -> Interval:
    accuracies = outcome.values[1]  # the second metric of a run; see `PreparedScrub.run_trials`
    return estimate_proportion(int(accuracies.sum()), len(accuracies))
