"""Hypotheses about a file of pairs: what nobody gives a number of takes the prompts there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from circuitgraph.errors import DataError
from circuitgraph.hypotheses.claims import Context, list_claims
from circuitgraph.hypotheses.evidence import N_PROMPTS, choose_count
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import SPLITS
from tests.hypotheses.texts import load_text

N = 24  # prompts of each split


@pytest.fixture(scope="module")
def file(shipped: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(
        load_task("induction", shipped), tmp_path_factory.mktemp("own") / "pairs.jsonl"
    )


def write_pairs(task: Task, path: Path) -> Path:
    """A file of a task's pairs, with the roles that all of them have."""
    pairs = [pair for split in SPLITS for pair in task.pairs(N, split)]
    roles = set.intersection(*({*pair.roles} for pair in pairs))
    lines = [
        {
            "clean": pair.clean,
            "corrupted": pair.corrupted,
            "answer": pair.answer,
            "distractor": pair.distractor,
            "roles": {role: int(pair.roles[role]) for role in roles},
        }
        for pair in pairs
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def make_study(shipped: LanguageModel, file: Path, hypothesis: Hypothesis) -> Study:
    return Study(hypothesis, shipped, load_task(file, shipped))


def make_hypothesis(file: Path, **arguments: object) -> Hypothesis:
    return Hypothesis("h", task=str(file), model="induction-2l", **arguments)  # pyright: ignore[reportArgumentType]


def test_a_number_that_nobody_gave_is_that_of_the_file(shipped: LanguageModel, file: Path) -> None:
    study = make_study(shipped, file, make_hypothesis(file))
    assert choose_count(study, None) == N
    assert choose_count(study, 10) == 10
    assert len(study.prompts(N)) == N
    assert len(study.sample) == N
    endless = Study(make_hypothesis(file), shipped, load_task("induction", shipped))
    assert choose_count(endless, None) == N_PROMPTS


def test_only_prompts_that_the_hypothesis_is_about_count(
    shipped: LanguageModel, file: Path
) -> None:
    prompts = make_study(shipped, file, make_hypothesis(file)).prompts(N)
    some = {prompt.text for prompt in prompts[::3]}
    study = make_study(shipped, file, make_hypothesis(file, where=lambda p: p.text in some))
    assert study.limit_prompts(1000) == len(some) == N // 3
    assert {prompt.text for prompt in study.prompts(N // 3)} == some
    with pytest.raises(DataError, match=rf"{N // 3} of the {N} evaluation prompts.*{N} were"):
        study.prompts(N)


def test_more_than_a_file_has_is_refused_where_it_was_asked_for(
    shipped: LanguageModel, file: Path
) -> None:
    study = make_study(shipped, file, make_hypothesis(file))
    with pytest.raises(DataError, match=f"{N} of them for evaluation, but 100 were asked for"):
        study.prompts(100)


@pytest.mark.slow  # scrubs, and hunts for counterexamples
def test_no_claim_about_a_file_is_an_error(tmp_path: Path) -> None:
    """All kinds of claims, each on the 24 prompts that the file has. Some of them are wrong."""
    model = load_model("agreement")
    path = write_pairs(load_task("agreement", model), tmp_path / "pairs.jsonl")
    text = f"""
from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("on a file", task={str(path)!r}, model="agreement", metric="logit_difference")

@H.var(at=embed @ "subject")
def is_plural(p):
    return p.token["subject"].endswith("s")

@H.var(at=head(0, 2) @ "end", v="is_plural")
def copied(is_plural):
    return is_plural

@H.output(at=logits @ "end")
def answer(copied):
    return "are" if copied else "is"

H.expect("accuracy", at_least=0.5)
H.expect("loss_recovered", at_least=0.5)
H.expect("interchange_accuracy", of=copied, at_least=0.5)
H.expect("necessity", at_least=0.1)
H.expect("logit_difference", at_least=1)
H.rival("nothing is copied", drop=is_plural)
H.property("behaviour", allow=0.2)
H.property("minimality", at_least=0.1)
H.property("equality", of=copied, at_most=50.0)
"""
    context = Context(load_text(tmp_path, text))
    verdicts = {claim.id: context.test_claim(claim) for claim in list_claims(context.hypothesis)}
    counted = [name for name, v in verdicts.items() if re.search(rf"\b{N} .*prompts", v.summary)]
    assert len(verdicts) == 11
    assert counted == [name for name in verdicts if name != "program"]
