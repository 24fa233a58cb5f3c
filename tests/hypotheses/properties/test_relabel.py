"""Relabelling exchanges words that a task treats alike, everywhere in a prompt."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.properties.chooser import Chooser
from circuitgraph.hypotheses.properties.known_exceptions import find_prompts
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.properties.relabel import Relabelling
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from tests.hypotheses.properties.inducing import study_of, task_for


@pytest.fixture(scope="module")
def multitask() -> LanguageModel:
    return load_model("multitask")


def source_of(model: LanguageModel, task: str) -> PromptSource:
    return PromptSource(
        Study(Hypothesis("any", task=task, model=model.name), model, task_for(model, task))
    )


@pytest.mark.parametrize("task", ["induction", "ioi", "greater-than", "agreement"])
def test_a_relabelled_prompt_is_one_of_the_task(multitask: LanguageModel, task: str) -> None:
    source = source_of(multitask, task)
    changed = 0
    rng = np.random.default_rng(0)
    for prompt in source.study.prompts(30):
        relabel = source.relabeller.draw_relabelling(rng, [prompt])
        other = relabel(prompt)
        assert other.position == prompt.position
        assert len(other) == len(prompt)
        assert other.tokens == tuple(relabel(token) for token in prompt.tokens)
        assert other.answer == relabel(prompt.answer)
        assert other.right == frozenset(map(relabel, prompt.right))
        assert relabel(other) == prompt  # each exchange undoes itself
        assert Relabelling({}, source.tokens)(prompt) == prompt
        changed += other != prompt
    assert changed > 10


def test_a_word_keeps_its_number(multitask: LanguageModel) -> None:
    source = source_of(multitask, "agreement")
    plural = {f"{noun}s" for noun in ("key", "dog", "king", "car")}
    for seed, prompt in enumerate(source.study.prompts(60)):
        other = source.relabeller.draw_relabelling(np.random.default_rng(seed), [prompt])(prompt)
        if prompt.token["subject"] in plural:
            assert other.token["subject"].endswith("s")
    assert any(p.token["subject"] in plural for p in source.study.prompts(60))


def test_choices_of_zero_exchange_nothing(shipped: LanguageModel) -> None:
    source = PromptSource(study_of(shipped))
    prompt = source.pool[0]
    assert str(source.relabeller.draw_relabelling(Chooser(lambda: bytes(8)), [prompt])) == "nothing"


def test_without_words_there_is_no_relabel() -> None:
    with pytest.raises(HypothesisError, match="names no words"):
        _ = source_of(load_model("addition"), "addition").relabeller


def test_a_known_exception_is_found_by_its_text(shipped: LanguageModel) -> None:
    source = PromptSource(study_of(shipped))
    # Of first words: hardly in a pool of 2,000.
    strange = " apple arm bag ball bank bear bed bell bird ball"
    assert strange not in {prompt.text for prompt in source.pool}
    (prompt,) = find_prompts([strange], source)
    assert prompt.text == strange
    assert prompt.token == {"A1": "ball", "B1": "bank", "A2": "ball"}
    assert prompt.answer == "bank"
    with pytest.raises(HypothesisError, match="No prompt of task"):
        find_prompts([" apple arm"], source)
