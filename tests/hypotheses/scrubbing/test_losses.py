"""Shares of the loss recovered: known losses give known shares, and differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ClassesRecord, ComparedRecord
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.scrubbing.losses import Losses, average_worst_tenth
from circuitgraph.hypotheses.scrubbing.trials import (
    MODEL,
    RANDOM_PROMPTS,
    SCRUBBED,
)
from circuitgraph.hypotheses.scrubbing.verdict import judge_recovery, list_undonored, write_notes

N = 400
OTHER = ("rival", "other")


@pytest.fixture(scope="module")
def losses() -> Losses:
    """The hypothesis loses a quarter of what there is, the rival just as much prompt by prompt."""
    rng = np.random.default_rng(0)
    model, room = rng.normal(size=N), 4 + rng.random(N)
    scrubbed = model + room / 4
    return Losses(
        {
            MODEL: model,
            RANDOM_PROMPTS: model + room,
            SCRUBBED: scrubbed,
            OTHER: scrubbed + room / 2,
        },
        0,
    )


def test_the_model_recovers_all_and_the_zero_point_nothing(losses: Losses) -> None:
    assert losses.loss_recovered(MODEL) == Interval(mean=1, low=1, high=1)
    assert losses.loss_recovered(RANDOM_PROMPTS) == Interval(mean=0, low=0, high=0)
    assert losses.loss_recovered(SCRUBBED).mean == pytest.approx(0.75)


def test_differences_are_paired(losses: Losses) -> None:
    difference = losses.compare_trials(SCRUBBED, OTHER)
    assert (difference.low, difference.mean, difference.high) == pytest.approx((0.5, 0.5, 0.5))
    mean = losses.mean_loss(SCRUBBED)
    assert mean.low < losses.by_trial[SCRUBBED].mean() < mean.high


def test_to_recover_too_much_is_no_better(losses: Losses) -> None:
    model, nothing = losses.by_trial[MODEL], losses.by_trial[RANDOM_PROMPTS]
    over = Losses({**losses.by_trial, OTHER: model - (nothing - model) / 2}, 0)
    assert over.loss_recovered(OTHER).mean == pytest.approx(1.5)
    assert over.compare_trials(SCRUBBED, OTHER).mean == pytest.approx(0.25)


def test_the_standard_error_is_that_of_a_ratio_of_means() -> None:
    rng = np.random.default_rng(1)
    model, nothing = np.zeros(N), np.ones(N)
    scrubbed = rng.normal(0.3, 0.5, N)
    losses = Losses({MODEL: model, RANDOM_PROMPTS: nothing, SCRUBBED: scrubbed}, 0)
    assert losses.standard_error(SCRUBBED) == pytest.approx(scrubbed.std() / np.sqrt(N), rel=0.1)
    interval = losses.loss_recovered(SCRUBBED)
    assert interval.high - interval.low == pytest.approx(
        2 * 1.96 * scrubbed.std() / np.sqrt(N), rel=0.15
    )


def test_a_model_that_does_no_better_than_chance_has_nothing_to_recover(losses: Losses) -> None:
    losses.check_behaviour("kl")
    swapped = Losses(
        {MODEL: losses.by_trial[RANDOM_PROMPTS], RANDOM_PROMPTS: losses.by_trial[MODEL]}, 0
    )
    with pytest.raises(HypothesisError, match="no behaviour to explain"):
        swapped.check_behaviour("kl")


def test_some_of_the_prompts(losses: Losses) -> None:
    chosen = np.arange(N) < 100
    assert losses.select_prompts(chosen).mean_loss(MODEL).mean == pytest.approx(
        losses.by_trial[MODEL][:100].mean()
    )


def test_the_worst_tenth_is_the_mean_of_the_largest() -> None:
    values = np.random.default_rng(0).permutation(np.arange(100.0))
    worst = average_worst_tenth(values, 0)
    assert worst.mean == np.arange(90, 100).mean()
    assert worst.low < worst.mean < worst.high <= 99


# The verdict.


def make_compared(name: str, mean: float, low: float) -> ComparedRecord:
    """A rival that recovers ``mean``, and is behind by at least ``low``."""
    here, behind = (
        Interval(mean=mean, low=mean, high=mean),
        Interval(mean=low + 0.1, low=low, high=low + 0.2),
    )
    return ComparedRecord(
        name=name, loss=here, recovered=here, standard_error=0, accuracy=here, difference=behind
    )


GOOD = Interval(mean=0.98, low=0.97, high=0.99)


def test_the_best_rival_is_that_which_is_nearest_to_all() -> None:
    line = judge_recovery(
        "h", GOOD, [make_compared("too much", 1.4, 0.3), make_compared("near", 0.9, 0.05)], []
    ).summary
    assert "best rival 0.90 ('near')" in line


def test_the_verdict_names_the_best_of_its_rivals() -> None:
    rivals = [make_compared("weak", 0.1, 0.8), make_compared("no previous-token head", 0.21, 0.7)]
    verdict = judge_recovery("induction", GOOD, rivals, [make_compared("random", -0.001, 0.9)])
    assert verdict.held
    assert verdict.summary == (
        "induction: 0.98 of the loss recovered [0.97, 0.99]; best rival 0.21 ('no previous-token "
        "head'), best null 0.00 ('random'): not refuted"
    )


@pytest.mark.parametrize(
    ("low", "word"), [(0.001, "held"), (0.0, "not shown"), (-0.19, "not shown"), (-0.21, "refuted")]
)
def test_a_rival_or_a_null_refutes_for_certain_or_leaves_it_open(low: float, word: str) -> None:
    """The interval of how far the other is behind has a width of 0.2."""
    close = make_compared("close", 0.97, low)
    for rivals, nulled in (([close], []), ([], [close])):
        verdict = judge_recovery("h", GOOD, rivals, nulled)
        assert verdict.word == word
        assert ("'close'; if they differ, more prompts may" in verdict.summary) == (
            word == "not shown"
        )
        assert verdict.summary.endswith("further from the model than 'close'") == (
            word == "refuted"
        )


def test_a_pass_without_any_expectation_says_so() -> None:
    some = Interval(mean=0.27, low=0.25, high=0.29)
    verdict = judge_recovery("h", some, [], [], is_bounded=False)
    assert verdict.word == "held"
    assert "[0.25, 0.29]: not refuted, but the file expects no share" in verdict.summary
    assert judge_recovery("h", some, [], []).summary.endswith(": not refuted")


def test_what_refutes_comes_before_what_leaves_it_open() -> None:
    others = [make_compared("close", 0.97, -0.01), make_compared("better", 0.99, -0.3)]
    verdict = judge_recovery("h", GOOD, others, [], ["v"])
    assert verdict.word == "refuted"
    assert verdict.summary.endswith("refuted, further from the model than 'better'")


def test_with_most_prompts_their_own_donors_nothing_is_shown() -> None:
    few = ClassesRecord(
        variable="v", n_classes=9, smallest=1, mean=2, singletons=10, effective_donors=1.5
    )
    assert list_undonored([few, few.model_copy(update={"variable": "w", "singletons": 9})]) == ["v"]
    verdict = judge_recovery("h", GOOD, [], [], ["v"])
    assert verdict.word == "not shown"
    assert "not shown, most prompts have no donor but themselves for v" in verdict.summary


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.03, -0.01, "refuted"),
        (-0.01, 0.05, "not shown"),
        (0.01, 0.05, "held"),
        (1.9, 2.3, "not shown"),
        (2.1, 2.3, "refuted"),
    ],
)
def test_the_zero_point_is_one_more_rival(low: float, high: float, word: str) -> None:
    verdict = judge_recovery("h", Interval(mean=(low + high) / 2, low=low, high=high), [], [])
    assert verdict.word == word
    assert ("logits of random other prompts" in verdict.summary) == (word != "held")


def test_notes_tell_of_cancellation_and_of_prompts_that_are_their_own_donors() -> None:
    few = ClassesRecord(
        variable="v", n_classes=9, smallest=1, mean=2, singletons=3, effective_donors=1.5
    )
    singletons, cancels = write_notes([few], GOOD, 0.4)
    assert (
        singletons
        == "prompts that share their value with no other, and can only be their own donors: 3 (v)"
    )
    assert "prompts change by 40% of the loss to recover, their mean by 2% only" in cancels
    few = few.model_copy(update={"singletons": 0})
    assert write_notes([few], Interval(mean=0.7, low=0.6, high=0.8), 0.4) == []
    (over,) = write_notes([few], Interval(mean=1.35, low=1.33, high=1.38), 0.4)
    assert "135% of the loss recovered is more than there is" in over
