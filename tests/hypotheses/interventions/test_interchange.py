"""Interchange, necessity, expectations: of a right hypothesis, and of a head that is silent."""

import numpy as np
import pytest

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import HypothesisError, UnknownNameError
from circuitgraph.hypotheses import Hypothesis, embed, head, logits
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.expecting import _compare_bounds, judge_expectation
from circuitgraph.hypotheses.interventions.interchange import draw_different, swap_variables
from circuitgraph.hypotheses.interventions.necessity import measure_necessity
from circuitgraph.hypotheses.language import Expectation, Location
from circuitgraph.hypotheses.study import Study

N = 300


def make_hypothesis(induction_head: int) -> Hypothesis:
    """Induction, its second head said to be this one."""
    h = Hypothesis("induction", task="induction", model="induction-2l")

    @h.var(at=embed @ "A1")
    def earlier(p):
        return p.token["A1"]

    @h.var(at=embed @ "B1")
    def successor(p):
        return p.token["B1"]

    @h.var(at=embed @ "A2")
    def current(p):
        return p.token["A2"]

    @h.var(at=head(0, 3) @ "B1", v="earlier")
    def seen_before(earlier):
        return earlier

    @h.var(at=head(1, induction_head) @ "A2", q="current", k="seen_before", v="successor")
    def copied(current, seen_before, successor):
        return successor if current == seen_before else None

    @h.output(at=logits @ "A2")
    def answer(copied):
        return copied

    return h


@pytest.fixture(scope="module")
def right(shipped) -> Evidence:
    return make_evidence(shipped, 6)


@pytest.fixture(scope="module")
def wrong(shipped) -> Evidence:
    return make_evidence(shipped, 2)


def make_evidence(model, induction_head: int) -> Evidence:
    from circuitgraph.tasks.loading import load_task

    return Evidence(
        Study(make_hypothesis(induction_head), model, load_task("induction", model)), n=N
    )


def test_donors_differ_in_value_and_stand_alike():
    rng = np.random.default_rng(0)
    codes, layouts = rng.integers(4, size=500), rng.integers(20, size=500)
    donors = draw_different(codes, layouts, [1])
    assert (donors >= 0).all()
    assert (codes[donors] != codes).all()
    assert (layouts[donors] == layouts).all()
    assert len(set(donors)) > 150


def test_donors_are_drawn_evenly():
    codes = np.array([0] * 300 + [1, 2, 3])
    donors = draw_different(codes, np.zeros(303, np.int64), [1])[:300]
    assert set(donors) == {300, 301, 302}
    assert np.bincount(donors - 300).min() > 70  # of 100 each


def test_nothing_differs_where_all_are_equal():
    assert (draw_different(np.zeros(5, np.int64), np.zeros(5, np.int64), [1]) == -1).all()


def test_the_model_follows_what_the_copying_head_is_given(right, wrong):
    followed, ignored = swap_variables(right, ["copied"]), swap_variables(wrong, ["copied"])
    assert followed.n_changed == followed.n_defined > N / 2
    assert followed.accuracy is not None
    assert ignored.accuracy is not None
    assert followed.accuracy.low > 0.95
    assert ignored.accuracy.high < 0.05
    assert len(ignored.failures) == 3
    failure = ignored.failures[0]
    assert failure.answer not in failure.expected
    assert not followed.failures


def test_a_swap_after_which_the_program_says_nothing_does_not_count(right):
    swap = swap_variables(right, ["current"])
    assert swap.n_defined == 0
    assert swap.accuracy is None
    expectation = Expectation(
        "interchange_accuracy", 0.9, None, ("current",), None, None, None, None, Location("here", 1)
    )
    with pytest.raises(HypothesisError, match="says nothing"):
        judge_expectation(right, expectation)


def test_two_variables_have_donors_of_their_own(right):
    swap = swap_variables(right, ["copied", "seen_before"])
    assert swap.variables == ("copied", "seen_before")
    assert swap.n_defined > N / 2


def test_only_what_has_a_site_can_be_swapped(right):
    with pytest.raises(UnknownNameError, match=r"copyed.*copied"):
        swap_variables(right, ["copyed"])
    with pytest.raises(HypothesisError, match="no site"):
        swap_variables(right, ["answer"])


def test_necessary_is_what_the_behaviour_goes_with(right, wrong):
    assert measure_necessity(right).low > 0.8
    assert measure_necessity(right, ["copied"]).low > 0.8
    assert abs(measure_necessity(wrong, ["copied"]).mean) < 0.05
    with pytest.raises(UnknownNameError, match="copied"):
        measure_necessity(right, ["copyed"])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.91, 0.99, "held"), (0.7, 0.89, "refuted"), (0.85, 0.95, "not shown")],
)
def test_the_whole_interval_must_lie_within_the_bounds(low, high, word):
    expectation = Expectation(
        "accuracy", 0.9, None, (), None, None, None, None, Location("here", 1)
    )
    measured = Interval(mean=(low + high) / 2, low=low, high=high)
    assert _compare_bounds(measured, expectation) == word


def judge(evidence: Evidence, quantity: str, **about) -> str:
    """The text of the verdict on an expectation of this quantity."""
    evidence.study.hypothesis.expectations.clear()
    evidence.study.hypothesis.expect(quantity, **about)
    return str(judge_expectation(evidence, evidence.study.hypothesis.expectations[0]))


def test_expectations_say_what_was_found(right):
    assert "held" in judge(right, "accuracy", at_least=0.95)
    assert "held" in judge(right, "attention", of=head(1, 6) @ "A2", to="B1", at_least=0.8)
    assert "refuted" in judge(right, "attention", of=head(1, 2) @ "A2", to="B1", at_least=0.8)
    assert "held" in judge(right, "logit_difference", at_least=10)
    assert "refuted" in judge(right, "logit_difference", at_most=10)
    assert "held" in judge(right, "necessity", at_least=0.8)
