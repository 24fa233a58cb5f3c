"""What `run` gives, and that properties called for many prompts at once get the same as if called
for one.
"""

from __future__ import annotations

from itertools import count

import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.properties.running import (
    ModelAnswer,
    ModelRunner,
    RunCalls,
    replay_calls,
)
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from tests.hypotheses.properties.inducing import study_of


@pytest.fixture(scope="module")
def study(shipped: LanguageModel) -> Study:
    return study_of(shipped)


@pytest.fixture(scope="module")
def runner(study: Study) -> ModelRunner:
    return ModelRunner(PromptSource(study))


def test_an_answer_is_what_the_model_computes(study: Study, runner: ModelRunner) -> None:
    prompts = study.prompts(40)  # more than one launch, of several lengths
    batch = study.batch(prompts).tokens
    positions = np.broadcast_to(np.arange(batch.mask.shape[1]), batch.mask.shape)
    everywhere = np.asarray(
        study.model.transformer(*map(jnp.asarray, (batch.clean, batch.mask, positions)))
    )
    expected = everywhere[np.arange(40), batch.score_at]
    answers = runner.answer_prompts(prompts)
    np.testing.assert_allclose([a.logits for a in answers], expected, atol=2e-4)
    shares = np.exp(expected[0]) / np.exp(expected[0]).sum()
    first, prompt = answers[0], prompts[0]
    assert first.probability(prompt.answer) == pytest.approx(
        shares[np.asarray(batch.answer)[0]], rel=1e-3
    )
    assert first.probability(f" {prompt.answer}") == first.probability(prompt.answer)
    assert first.logit(prompt.answer) == pytest.approx(
        expected[0, np.asarray(batch.answer)[0]], abs=1e-3
    )
    assert first.top == first.answer == prompt.answer
    difference = expected[np.arange(40), batch.answer] - expected[np.arange(40), batch.distractor]
    assert [a.metric for a in answers] == pytest.approx(difference.tolist(), abs=1e-3)
    others = np.delete(expected[0], np.asarray(batch.answer)[0])
    assert first.margin(frozenset([prompt.answer])) == pytest.approx(
        float(expected[0].max() - others.max()), abs=1e-3
    )


def test_a_prompt_may_be_mere_text(study: Study, runner: ModelRunner) -> None:
    prompt = study.prompts(1)[0]
    ((answer, _),) = replay_calls([lambda run: run(prompt.text)], runner)
    assert answer.answer == runner.answer_prompts([prompt])[0].answer
    with pytest.raises(HypothesisError, match="mere text"):
        _ = answer_of(runner, prompt.text).metric
    with pytest.raises(HypothesisError, match="no single token"):
        answer.logit("apple bag")
    with pytest.raises(HypothesisError, match="does not know"):
        runner.tokens.make_plain_prompt(" xyzzy")


def answer_of(runner: ModelRunner, text: str) -> ModelAnswer:
    return runner.answer_prompts([runner.tokens.make_plain_prompt(text)])[0]


def test_replaying_gives_what_direct_calls_give(study: Study) -> None:
    """A property that asks for prompts that depend on what the model said before."""
    prompts = study.prompts(20)

    def chain(start: int, ask) -> list[str]:
        said, now = [], prompts[start].text
        for _ in range(3):
            answer = ask(now).answer
            said.append(answer)
            now = f" {answer}{now.removesuffix(f' {now.split()[-1]}')} {answer}"[: len(now) + 40]
        return said

    direct = [
        chain(i, lambda text: answer_of(ModelRunner(PromptSource(study)), text)) for i in range(2)
    ]
    fresh = ModelRunner(PromptSource(study))
    launches: list[int] = []
    launch = fresh._run_prompts
    fresh._run_prompts = lambda waiting: launches.append(len(waiting)) or launch(waiting)  # type: ignore[method-assign]
    together = replay_calls([lambda run, i=i: chain(i, run) for i in range(20)], fresh)
    assert [said for said, _ in together[:2]] == direct
    assert len(launches) == 3  # one for each question, not one for each prompt
    assert [len(run.answers) for _, run in together] == [3] * 20


def test_a_bare_except_does_not_go_on_without_an_answer(study: Study) -> None:
    prompt = study.prompts(1)[0]

    def careless(run: RunCalls) -> str:
        try:
            return run(prompt).answer
        except:  # noqa: E722  what a user may write
            return "nothing"

    ((said, _),) = replay_calls([careless], ModelRunner(PromptSource(study)))
    assert said == prompt.answer


def test_a_random_property_is_named_as_such(study: Study) -> None:
    words, numbers = study.prompts(60), count()
    with pytest.raises(HypothesisError, match="random"):
        replay_calls([lambda run: run(words[next(numbers)])], ModelRunner(PromptSource(study)))


def test_too_long_a_prompt_is_refused(study: Study) -> None:
    runner = ModelRunner(PromptSource(study))
    with pytest.raises(HypothesisError, match="context is 64"):
        runner.answer_prompts([runner.tokens.make_plain_prompt(" apple bag" * 40)])


def test_another_metric_is_the_hypothesis_own(study: Study, shipped: LanguageModel) -> None:
    other = Study(
        Hypothesis("any", task="induction", model="induction-2l", metric="probability"),
        shipped,
        study.task,
    )
    answer = ModelRunner(PromptSource(other)).answer_prompts(study.prompts(1))[0]
    assert answer.metric == pytest.approx(answer.probability(answer.prompt.answer), rel=1e-4)
