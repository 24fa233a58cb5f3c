"""Strategies draw what the grammar can draw, and shrink to its first and shortest prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis.vendor.pretty import pretty

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError, UnknownNameError
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import PropertyCase
from circuitgraph.hypotheses.properties.donors import layout_key
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.properties.strategies import case_lists, pairs, prompts
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.base import GrammarTask, Source
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import SPLITS
from tests.hypotheses.properties.inducing import Claim, study_of, task_for

FEW = settings(max_examples=40, phases=[Phase.generate])


@pytest.fixture(scope="module")
def study(shipped: LanguageModel) -> Study:
    return study_of(shipped)


def drawn(strategy: Any) -> list[Any]:
    found: list[Any] = []

    @FEW
    @given(strategy)
    def collect(one: Any) -> None:
        found.append(one)

    collect()
    return found


def _is_induction(prompt: Prompt) -> bool:
    *distinct, last = prompt.tokens
    first = prompt.position["A1"]
    return (
        8 <= len(prompt) <= 16
        and len(set(distinct)) == len(distinct)
        and prompt.position == {"A1": first, "B1": first + 1, "A2": len(distinct)}
        and distinct[first] == last
        and prompt.answer == distinct[first + 1]
    )


def test_only_prompts_of_the_grammar_are_drawn(study: Study) -> None:
    assert all(map(_is_induction, study.prompts(100)))  # what is asked is true of the sampler's own
    found = drawn(prompts(study))
    assert all(map(_is_induction, found))
    assert len({p.ids for p in found}) > 25
    assert {len(p) for p in found} >= {8, 16}


@pytest.mark.parametrize(
    ("task", "simplest"),
    [
        ("ioi", "Then, Mary and John went to the store. John gave a drink to"),
        ("greater-than", "The war lasted from the year 1102 to the year 11"),
        ("addition", "0+0="),
    ],
)
def test_every_grammar_has_a_strategy(task: str, simplest: str) -> None:
    model = load_model(task)
    study = Study(Hypothesis("any", task=task, model=task), model, task_for(model, task))
    roles = {frozenset(p.position) for p in study.prompts(200)}
    found = drawn(prompts(study))
    assert {frozenset(p.position) for p in found} <= roles
    assert all(
        p.answer in p.right and p.ids == tuple(study.tokenizer.encode(p.text)) for p in found
    )
    assert find(prompts(study), lambda p: True).text == simplest


def test_it_shrinks_to_the_shortest_prompt_of_the_first_words(study: Study) -> None:
    assert isinstance(study.task, GrammarTask)
    words = [word.strip() for word in study.task.words["words"] if isinstance(word, str)]
    found = find(prompts(study), lambda p: len(p) >= 10)
    assert found.tokens == (*words[:9], words[0])


@pytest.mark.parametrize("equal", [True, False])
def test_donors_are_of_the_same_class_or_of_another(study: Study, equal: bool) -> None:
    for reference, donor in drawn(pairs(study, "successor", equal=equal)):
        assert (reference.token["B1"] == donor.token["B1"]) == equal
        assert _is_induction(donor)


def test_a_failing_list_shrinks_to_one_pair(study: Study) -> None:
    source = PromptSource(study)
    donors = source.group_donors("successor", same_layout=False)

    def pair(rng: Choices) -> tuple[Prompt, Prompt]:
        reference = source.draw_prompt(rng)
        return reference, donors.draw_donor(rng, reference, equal=True) or reference

    def found(condition: Callable[[Prompt, Prompt], bool]) -> list[tuple[Prompt, Prompt]]:
        return find(case_lists(pair, 68), lambda cases: any(condition(*case) for case in cases))

    ((reference, donor),) = found(lambda r, d: r.ids != d.ids and len(r) > 8)
    assert len(reference) == 9
    assert len(donor) == 8  # the first of its class


def test_donors_may_have_to_share_the_layout(study: Study) -> None:
    source = PromptSource(study)
    donors = source.group_donors("earlier", same_layout=True)
    rng = np.random.default_rng(0)
    for prompt in study.prompts(50):
        other = donors.draw_donor(rng, prompt, equal=False)
        assert other is not None
        assert layout_key(other) == layout_key(prompt)
        assert other.token["A1"] != prompt.token["A1"]


def test_where_is_obeyed_without_a_filter(shipped: LanguageModel) -> None:
    rare = study_of(shipped, Claim(where=lambda p: p.token["A1"] == "apple"))
    found = drawn(prompts(rare))
    assert {p.token["A1"] for p in found} == {"apple"}
    never = study_of(shipped, Claim(where=lambda p: False))
    with pytest.raises(HypothesisError, match="`where`"):
        prompts(never)


def test_an_unknown_variable_and_an_unknown_choice_are_named(
    study: Study, shipped: LanguageModel
) -> None:
    with pytest.raises(UnknownNameError, match="succesor"):
        pairs(study, "succesor")
    other = study_of(shipped)
    assert isinstance(other.task, GrammarTask)
    real = other.task.source

    def draw(rng: Any) -> Any:
        rng.standard_normal()
        return real.draw(rng)

    other.task.source = replace(real, draw=draw)
    assert isinstance(other.task.source, Source)
    with pytest.raises(HypothesisError, match=r"rng\.standard_normal"):
        find(prompts(other), lambda p: True)


def test_hypothesis_prints_prompts_as_their_text_and_roles(study: Study) -> None:
    """And lists of cases in a few lines, where all fields of all of them would be a book."""
    prompt = study.prompts(1)[0]
    assert pretty(prompt) == repr(prompt)
    assert pretty([PropertyCase(prompt, prompt)]) == f"[{prompt.text!r} and {prompt.text!r}]"


def test_a_file_of_pairs_is_drawn_of_whole(shipped: LanguageModel, tmp_path: Path) -> None:
    """Also the half on which circuits are found; so it is said."""
    pairs_of_task = [p for split in SPLITS for p in task_for(shipped).pairs(6, split)]
    fields = ("clean", "corrupted", "answer", "roles")
    lines = [json.dumps({name: getattr(pair, name) for name in fields}) for pair in pairs_of_task]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines))
    study = study_of(shipped)
    source = PromptSource(Study(study.hypothesis, shipped, load_task(file, shipped)))
    rng = np.random.default_rng(0)
    assert len({source.draw_prompt(rng).text for _ in range(200)}) == len(source.pool)
    said = source.describe_drawn()
    assert said == f"of the {len(source.pool)} prompts of {source.study.task.name!r}, of all splits"
