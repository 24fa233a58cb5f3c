"""Relabelling exchanges words that a task treats alike, everywhere in a prompt."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.properties.chooser import Chooser
from circuitgraph.hypotheses.properties.exceptions import find_prompts
from circuitgraph.hypotheses.properties.relabel import Relabelling
from circuitgraph.hypotheses.properties.supply import Supply
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from tests.hypotheses.properties.inducing import study_of, task_for


@pytest.fixture(scope="module")
def multitask() -> LanguageModel:
    return load_model("multitask")


def supply_of(model: LanguageModel, task: str) -> Supply:
    return Supply(
        Study(Hypothesis("any", task=task, model=model.name), model, task_for(model, task))
    )


@pytest.mark.parametrize("task", ["induction", "ioi", "greater-than", "agreement"])
def test_a_relabelled_prompt_is_one_of_the_task(multitask: LanguageModel, task: str) -> None:
    supply = supply_of(multitask, task)
    changed = 0
    rng = np.random.default_rng(0)
    for prompt in supply.study.prompts(30):
        relabel = supply.relabeller.draw(rng, [prompt])
        other = relabel(prompt)
        assert other.position == prompt.position
        assert len(other) == len(prompt)
        assert other.tokens == tuple(relabel(token) for token in prompt.tokens)
        assert other.answer == relabel(prompt.answer)
        assert other.right == frozenset(map(relabel, prompt.right))
        assert relabel(other) == prompt  # each exchange undoes itself
        assert Relabelling({}, supply.tokens)(prompt) == prompt
        changed += other != prompt
    assert changed > 10


def test_a_word_keeps_its_number(multitask: LanguageModel) -> None:
    supply = supply_of(multitask, "agreement")
    plural = {f"{noun}s" for noun in ("key", "dog", "king", "car")}
    for seed, prompt in enumerate(supply.study.prompts(60)):
        other = supply.relabeller.draw(np.random.default_rng(seed), [prompt])(prompt)
        if prompt.token["subject"] in plural:
            assert other.token["subject"].endswith("s")
    assert any(p.token["subject"] in plural for p in supply.study.prompts(60))


def test_choices_of_zero_exchange_nothing(shipped: LanguageModel) -> None:
    supply = Supply(study_of(shipped))
    prompt = supply.pool[0]
    assert str(supply.relabeller.draw(Chooser(lambda: bytes(8)), [prompt])) == "nothing"


def test_without_words_there_is_no_relabel() -> None:
    with pytest.raises(HypothesisError, match="names no words"):
        _ = supply_of(load_model("addition"), "addition").relabeller


def test_a_known_exception_is_found_by_its_text(shipped: LanguageModel) -> None:
    supply = Supply(study_of(shipped))
    strange = " apple arm bag ball bank bear bed bell bird ball"  # of first words: hardly in a pool of 2,000
    assert strange not in {prompt.text for prompt in supply.pool}
    (prompt,) = find_prompts([strange], supply)
    assert prompt.text == strange
    assert prompt.token == {"A1": "ball", "B1": "bank", "A2": "ball"}
    assert prompt.answer == "bank"
    with pytest.raises(HypothesisError, match="No prompt of task"):
        find_prompts([" apple arm"], supply)
