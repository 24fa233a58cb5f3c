"""What is said of a circuit in one line: that it overshoots, and why edges were dropped."""

from __future__ import annotations

import pytest

from circuitgraph.catalog.records import CurvePoint, EvaluationRecord, Interval
from circuitgraph.cli.circuit_notes import describe_curve_overshoot, describe_overshoot


def evaluate(mean: float, low: float, circuit: float = 14.0) -> EvaluationRecord:
    of_model = Interval(mean=5.2, low=5.0, high=5.4)
    return EvaluationRecord(
        metric="logit_difference",
        ablation="resample",
        split="evaluation",
        seed=0,
        n_prompts=20,
        prompts_sha256="ab",
        full=of_model,
        empty=Interval(mean=0.0, low=-0.1, high=0.1),
        circuit=Interval(mean=circuit, low=circuit - 1, high=circuit + 1),
        faithfulness=Interval(mean=mean, low=low, high=mean + 0.1),
        random_faithfulness=None,
        n_random=20,
    )


def test_a_circuit_that_does_more_than_the_model_is_named_with_both_figures() -> None:
    note = describe_overshoot(evaluate(2.692, 2.5))
    assert note is not None
    assert "\n" not in note
    for phrase in ("overshoots", "logit_difference is 14.000", "model's 5.200", "2.692 [2.500"):
        assert phrase in note


@pytest.mark.parametrize(("mean", "low"), [(0.97, 0.9), (1.0, 1.0), (1.04, 1.03), (1.2, 0.98)])
def test_what_may_be_chance_or_is_no_more_than_the_model_is_not(mean: float, low: float) -> None:
    assert describe_overshoot(evaluate(mean, low)) is None


def test_an_undefined_faithfulness_says_nothing() -> None:
    undefined = evaluate(1.0, 1.0).model_copy(update={"faithfulness": None})
    assert describe_overshoot(undefined) is None


def test_of_a_curve_the_thresholds_are_named() -> None:
    points = [
        CurvePoint(threshold=t, n_edges=9, n_tested=9, loss=0.0, evaluation=evaluate(mean, low))
        for t, mean, low in ((0.1, 1.3, 1.2), (0.3, 1.0, 0.9), (1.0, 1.5, 1.4))
    ]
    note = describe_curve_overshoot(points)
    assert note is not None
    assert note.endswith("at 0.1, 1.0.")
    assert describe_curve_overshoot(points[1:2]) is None
