"""The library of properties: each holds of the right hypothesis and fails of a wrong one, for the
reason it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import HypothesisError, UnknownNameError
from circuitgraph.graph.site import embed, logits
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.properties.base import (
    PropertyCase,
    PropertyCheck,
    describe_property,
    library,
    make_check,
)
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.hunting import test_property as verdict_on
from circuitgraph.hypotheses.properties.patching import patch_edges
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.tokenise import tokenise_pairs
from tests.engine.trees import compilations
from tests.hypotheses.properties.inducing import Claim, declared, study_of, task_for


@pytest.fixture(scope="module", autouse=True)
def quick_rates() -> Iterator[None]:
    """What is found is asked here, not how often."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("circuitgraph.hypotheses.properties.rates.N_MEASURED", 25)
        yield


def verdict(
    model: LanguageModel, kind: str, claim: Claim | None = None, **settings: Any
) -> Verdict:
    study = study_of(model, claim)
    return verdict_on(study, declared(study, kind, **settings))


def check(study: Study, kind: str, **settings: Any) -> PropertyCheck:
    return make_check(PropertyContext.of_study(study), declared(study, kind, **settings))


def test_behaviour(shipped: LanguageModel) -> None:
    assert verdict(shipped, "behaviour").held
    wrong = verdict(shipped, "behaviour", Claim(said=lambda p: p.token["A1"]))
    assert not wrong.held
    assert "the program says" in wrong.detail


def test_program_needs_no_model(shipped: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "circuitgraph.hypotheses.properties.running.ModelRunner.answer_prompts", None
    )
    assert verdict(shipped, "program").held
    assert "the task" in verdict(shipped, "program", Claim(said=lambda p: p.token["A1"])).detail
    assert "ZeroDivisionError" in verdict(shipped, "program", Claim(seen=lambda p: 1 // 0)).detail
    assert "cannot be compared" in verdict(shipped, "program", Claim(seen=lambda p: [1])).detail


def test_relabelling(shipped: LanguageModel) -> None:
    assert verdict(shipped, "relabelling").held


def test_attention(shipped: LanguageModel) -> None:
    assert verdict(shipped, "attention", of="copied", to="B1").held
    wrong = verdict(shipped, "attention", of="copied", to="A1")
    assert not wrong.held
    assert "a1.h6@A2 looks most at position" in wrong.detail
    with pytest.raises(HypothesisError, match="at no head"):
        verdict(shipped, "attention", of="earlier", to="A1")
    with pytest.raises(HypothesisError, match="no role 'C'"):
        verdict(shipped, "attention", of="copied", to="C")


def test_equality(shipped: LanguageModel) -> None:
    right = verdict(shipped, "equality", of="current", at_most=3.0)
    assert right.held
    assert "grammar of 'induction', with donors of 500 prompts drawn from it" in right.summary
    wrong = verdict(shipped, "equality", Claim(seen=lambda p: len(p)), of="earlier", at_most=3.0)
    assert not wrong.held
    assert "logit_difference goes from" in wrong.detail
    assert "donor:" in wrong.detail


def test_equality_patches_the_claimed_path_alone(shipped: LanguageModel) -> None:
    """``earlier`` enters the previous-token head only: what else reads A1 sees the prompt's own
    word.
    """
    study = study_of(shipped)
    equality = check(study, "equality", of="earlier", at_most=0.0)
    rng = np.random.default_rng(0)
    cases = [equality.draw_case(rng, prompt) for prompt in study.prompts(32)]
    assert all(
        case.donor is not None and case.donor.token["A1"] == case.prompt.token["A1"]
        for case in cases
    )
    own = [PropertyCase(case.prompt, case.prompt) for case in cases]
    assert [f.drop for f in equality.check_cases(own)] == [0.0] * 32
    assert all(not f.failure for f in equality.check_cases(own))
    strangers = [PropertyCase(a.prompt, b.prompt) for a, b in pairwise(cases)]
    assert np.mean([f.drop for f in equality.check_cases(strangers)]) > 5  # it has lost its key


def test_interchange(shipped: LanguageModel) -> None:
    assert verdict(shipped, "interchange", of="copied").held
    wrong = verdict(shipped, "interchange", Claim(layer_1=2), of="copied")
    assert not wrong.held
    assert "with copied = " in wrong.detail
    with pytest.raises(HypothesisError, match="no site"):
        verdict(shipped, "interchange", of="answer")


def test_irrelevance(shipped: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled while it is hunted and shrunk, whatever the edges."""
    monkeypatch.setattr("circuitgraph.engine.fixed_shape.ROWS", 8)  # most launches are of one case
    assert verdict(shipped, "irrelevance", at_most=25.0, max_examples=10).held
    with compilations() as compiled:
        wrong = verdict(shipped, "irrelevance", Claim(layer_1=2), at_most=5.0)
    assert compiled == []
    assert not wrong.held
    edges = next(line for line in wrong.detail.splitlines() if line.startswith("edges:"))
    assert "and" not in edges  # the guilty ones alone
    assert "a1.h6" in edges or "a0.h3" in edges


def test_edges_are_patched_as_the_masked_run_patches_them(shipped: LanguageModel) -> None:
    study = study_of(shipped)
    rng = np.random.default_rng(1)
    irrelevance = check(study, "irrelevance", at_most=1.0)
    cases = [irrelevance.draw_case(rng, prompt) for prompt in study.prompts(5)]
    assert any(case.donor is not None and case.donor.ids != case.prompt.ids for case in cases)
    before, after = patch_edges(irrelevance.context, cases)
    for case, plain, patched in zip(cases, before, after, strict=True):
        pair = case.prompt.pair
        both = tokenise_pairs([_corrupted_by(pair, case)], study.tokenizer)
        experiment = Experiment(study.model, both, metric="logit_difference")
        masks = np.ones((2, experiment.graph.n_edges), bool)
        masks[1, list(case.edges)] = False
        np.testing.assert_allclose([plain, patched], experiment.values(masks)[:, 0], atol=2e-3)


def _corrupted_by(pair: Any, case: PropertyCase) -> Any:
    return replace(pair, corrupted=(case.donor or case.prompt).text)


def test_minimality(shipped: LanguageModel) -> None:
    assert verdict(shipped, "minimality", at_least=1.0, n=64).held
    wrong = verdict(shipped, "minimality", Claim(spare=True), at_least=1.0, n=64)
    assert not wrong.held
    assert "a0.h0->a1.h6<k>: at most" in wrong.detail


def test_a_property_that_says_nothing_does_not_hold() -> None:
    model = load_model("addition")
    h = Hypothesis("nothing", task="addition", model="addition")

    @h.var(at=embed @ "end")
    def last(p):
        return p.text

    h.output(at=logits @ "end")(_answer)
    study = Study(h, model, task_for(model, "addition"))
    found = verdict_on(study, declared(study, "behaviour"))
    assert found.word == "not shown"
    assert "of no evaluation prompt it says anything: the program says" in found.summary


def _answer(last: Any) -> None:
    return None


def test_each_says_in_a_line_what_it_asserts() -> None:
    assert set(library.names()) == {
        "attention",
        "behaviour",
        "equality",
        "interchange",
        "irrelevance",
        "minimality",
        "program",
        "relabelling",
    }
    for name in library.names():
        line, settings = describe_property(name)
        assert line.endswith(".")
        assert set(settings) <= {"at_most", "at_least", "n", "to"}


def test_all_that_is_wrong_with_a_property_is_said_at_once(shipped: LanguageModel) -> None:
    with pytest.raises(HypothesisError) as caught:
        verdict(shipped, "equality", atmost=1.0)
    for part in (
        "Unknown setting 'atmost'",
        "it needs at_most=",
        "it takes of= one variable, not none",
    ):
        assert part in str(caught.value)
    with pytest.raises(UnknownNameError, match="copied"):
        verdict(shipped, "equality", of="copyed", at_most=1.0)
    with pytest.raises(UnknownNameError, match="behaviour"):
        verdict(shipped, "behavior")
    with pytest.raises(HypothesisError, match="must be a number of 0 or more"):
        verdict(shipped, "equality", of="copied", at_most=-1.0)
