"""Hunts: what they find is the simplest there is, nothing compiles meanwhile, and the rate is
measured apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circuitgraph.errors import HypothesisError, UnknownNameError
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.properties.hunting import test_property as verdict_on
from circuitgraph.hypotheses.properties.profiles import PROFILES
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import GrammarTask
from tests.engine.trees import compilations
from tests.hypotheses.properties.inducing import Claim, declared, study_of

APPLE = "apple"  # the first of the task's words


@pytest.fixture(scope="module")
def study(shipped: LanguageModel) -> Study:
    return study_of(shipped)


def holds(study: Study, function: Callable[..., Any], **options: Any) -> Property:
    study.hypothesis.holds(**options)(function)
    return study.hypothesis.properties.pop()


def never(study: Study, function: Callable[..., Any], **options: Any) -> Property:
    study.hypothesis.never(**options)(function)
    return study.hypothesis.properties.pop()


def test_what_is_true_of_all_holds(study: Study) -> None:
    def says_what_followed(p: Any, run: Any) -> None:
        assert run(p).answer == p.token["B1"]

    found = verdict_on(study, holds(study, says_what_followed))
    assert found.held
    assert "0 % of 1,000 evaluation prompts are exceptions" in found.summary
    assert "more tried, drawn from the grammar of 'induction'" in found.summary
    assert "donors" not in found.summary
    assert "none allowed" in found.summary
    assert not found.detail


def test_a_failure_is_the_shortest_prompt_with_the_first_words(study: Study) -> None:
    def is_short(p: Any) -> None:
        assert len(p) < 10, f"it has {len(p)} tokens"

    found = verdict_on(study, holds(study, is_short), "ci")
    assert not found.held
    assert isinstance(study.task, GrammarTask)
    words = [word.strip() for word in study.task.words["words"] if isinstance(word, str)]
    simplest = "".join(f" {word}" for word in [*words[:9], words[0]])
    assert f"prompt:  {simplest!r}" in found.detail
    assert "it has 10 tokens" in found.detail
    assert "test_hunting.py:" in found.detail
    assert "assert len(p) < 10" in found.detail


def test_a_failure_of_a_pair_is_a_minimal_pair(study: Study) -> None:
    """The claim is false of the model: what follows does depend on where it stands."""

    def donors_agree(p: Any, donor: Any, run: Any) -> None:
        if p.token["A1"] != donor.token["A1"] and len(donor) > 8:
            assert run(p).answer == run(donor).answer

    found = verdict_on(study, holds(study, donors_agree), "ci")
    assert not found.held
    prompt, donor = (line.split("'")[1] for line in found.detail.splitlines()[:2])
    assert len(prompt.split()) == 8  # no prompt is shorter
    assert len(donor.split()) in (9, 10)  # the function speaks of none below 9
    assert set(donor.split()) <= {
        "apple",
        "arm",
        "bag",
        "ball",
        "bank",
        "bear",
        "bed",
        "bell",
        "bird",
    }
    assert "the model says" in found.detail


def test_never_says_what_was_returned(study: Study) -> None:
    def first_word_is_apple(p: Any) -> bool:
        return p.tokens[0] == APPLE

    found = verdict_on(study, never(study, first_word_is_apple))
    assert not found.held
    assert "never, but it is: the function returned True" in found.detail
    assert f"prompt:  ' {APPLE}" in found.detail


def test_who_forgets_to_assert_is_understood(study: Study) -> None:
    found = verdict_on(study, holds(study, lambda p: len(p) < 3))
    assert not found.held
    assert "the function returned False" in found.detail


@pytest.mark.parametrize(("allow", "held"), [(0.05, True), (0.02, False), (0.008, False)])
def test_an_allowed_share_is_held_to_the_whole_interval(
    study: Study, allow: float, held: bool
) -> None:
    """About one prompt in 96 begins with the word; 0.02 lies inside the interval of the rate."""

    def is_apple(p: Any) -> bool:
        return p.tokens[0] in (APPLE, "arm")

    found = verdict_on(study, never(study, is_apple, allow=allow))
    assert found.held == held
    assert f"{100 * allow:g} % allowed" in found.summary
    assert ("not shown" in found.summary) == (allow == 0.02)
    assert ("exceptions=[" in found.detail) == held


def test_known_exceptions_are_left_aside_until_they_are_none(study: Study) -> None:
    first = study.prompts(1)[0]

    def is_another(p: Any) -> bool:
        return p.text == first.text

    known = never(study, is_another, exceptions=[first.text])
    assert verdict_on(study, known).held
    stale = never(study, lambda p: False, exceptions=[first.text])
    assert f"No exception any more, remove it: {first.text!r}" in verdict_on(study, stale).detail
    with pytest.raises(HypothesisError, match="No prompt of task 'induction' is 'apple'"):
        verdict_on(study, never(study, is_another, exceptions=["apple"]))


def test_an_error_in_the_property_is_told_from_an_exception(study: Study) -> None:
    found = verdict_on(study, holds(study, lambda p: p.token["C"]))
    assert not found.held
    assert "an error in the property" in found.summary
    assert "KeyError: 'C'" in found.detail


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda q: None, "it asks for 'q'"),
        (lambda: None, "it asks for nothing"),
    ],
)
def test_what_it_cannot_be_given_is_refused(
    study: Study, function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(HypothesisError, match=message):
        verdict_on(study, holds(study, function))


def test_a_random_property_is_called_so(study: Study) -> None:
    seen: set[str] = set()

    def changes(p: Any) -> None:  # fails on every prompt that it sees for the first time
        known = p.text in seen
        seen.add(p.text)
        assert known

    found = verdict_on(study, holds(study, changes))
    assert not found.held
    assert "not found again" in found.detail


def test_the_same_hunt_finds_the_same(study: Study) -> None:
    def is_short(p: Any) -> None:
        assert len(p) < 12

    both: list[Verdict] = [verdict_on(study, holds(study, is_short), "ci") for _ in range(2)]
    assert both[0] == both[1]


def test_an_unknown_profile_is_named(study: Study) -> None:
    with pytest.raises(UnknownNameError, match="hunt"):
        verdict_on(study, holds(study, lambda p: None), "night")


def test_a_hunt_climbs_and_the_others_do_not() -> None:
    assert [(name, p.examples, p.derandomize, p.climb) for name, p in PROFILES.items()] == [
        ("dev", 30, False, False),
        ("ci", 200, True, False),
        ("hunt", 5000, False, True),
    ]


@pytest.mark.parametrize(
    ("kind", "layer_1", "settings"),
    [
        ("behaviour", 2, {}),
        ("equality", 6, {"of": "copied", "at_most": 0.5}),
        ("interchange", 2, {"of": "copied"}),
        ("attention", 2, {"of": "copied", "to": "B1"}),
    ],
)
def test_nothing_is_compiled_after_the_first_example(
    shipped: LanguageModel, kind: str, layer_1: int, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for other prompts, donors, lengths or edges, and not while shrinking; nor for another
    study of the model.
    """
    monkeypatch.setattr("circuitgraph.hypotheses.properties.rates.N_MEASURED", 64)
    warm, again = study_of(shipped), study_of(shipped, Claim(layer_1=layer_1))
    verdict_on(warm, declared(warm, kind, max_examples=1, **settings))
    with compilations() as compiled:
        found = verdict_on(again, declared(again, kind, max_examples=10, **settings))
    assert compiled == []
    assert found.held == (kind == "behaviour"), (
        "the wrong head was believed, so that nothing was shrunk"
    )
