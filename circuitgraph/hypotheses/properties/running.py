"""Running the model in property tests: each prompt once, for functions written for one prompt.

A user's property calls ``run(prompt)`` as if there were one prompt. All the same it is called for
many cases at once: a ``run`` that does not know a prompt yet notes it and breaks off, all noted
prompts run together, and the property is called again. So a property must do the same whenever it
is called with the same arguments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from circuitgraph.engine.fixed_shape import FixedShapeRuns, PromptShape
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.tasks.metrics import Metric, metrics

T = TypeVar("T")
_LEAST_REMEMBERED, _MEMORY = 128, 256 * 2**20  # prompts, and bytes, of logits that are remembered
_MOST_PASSES = 50  # of a property over its cases; each may ask for other prompts
_MOST_NAMED = 4  # answers that a failure names


class ModelRunner:
    """Runs a study's model on prompts, and remembers the logits."""

    def __init__(self, source: PromptSource) -> None:
        self.source, self.tokens = source, source.tokens
        self._model = source.study.model
        self._logits: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()
        row_bytes = 4 * self._model.spec.d_vocab_out
        self._most_remembered = max(_LEAST_REMEMBERED, _MEMORY // row_bytes)

    @cached_property
    def metric(self) -> Metric:
        """The hypothesis's, or its task's."""
        return metrics[self.source.study.hypothesis.metric or self.source.study.task.metric]

    @cached_property
    def runs(self) -> FixedShapeRuns:
        """Runs of the model, as large as the pool's largest prompts need."""
        pool = [self.tokens.tokenise_prompt(prompt) for prompt in self.source.pool]
        return FixedShapeRuns(self._model, self.metric, PromptShape.of(pool))

    def answer_prompts(self, prompts: Sequence[Prompt]) -> list[ModelAnswer]:
        """What the model says on each prompt.

        Raises:
            HypothesisError: a prompt is longer than the model's context, or logits are not finite.
        """
        new = {p.ids: p for p in prompts if p.ids not in self._logits}
        logits = {p.ids: self._logits[p.ids] for p in prompts if p.ids not in new}
        if new:
            logits |= self._run_prompts(list(new.values()))
        for ids in logits:
            self._logits[ids] = logits[ids]
            self._logits.move_to_end(ids)
        while len(self._logits) > self._most_remembered:
            self._logits.popitem(last=False)
        return [ModelAnswer(p, logits[p.ids], self) for p in prompts]

    def recall_answer(self, prompt: Prompt) -> ModelAnswer | None:
        """What the model said before; None if it was not asked, or long ago."""
        logits = self._logits.get(prompt.ids)
        return None if logits is None else ModelAnswer(prompt, logits, self)

    def _run_prompts(self, prompts: Sequence[Prompt]) -> dict[tuple[int, ...], np.ndarray]:
        longest, n_ctx = max(prompts, key=len), self._model.spec.n_ctx
        if len(longest) > n_ctx:
            raise HypothesisError(
                f"{longest!r} has {len(longest)} tokens, but the model's context is {n_ctx}."
            )
        logits = self.runs.compute_logits([prompt.ids for prompt in prompts])
        is_finite = np.isfinite(logits).all(axis=1)
        if not is_finite.all():
            raise HypothesisError(
                f"The model's logits are not finite on {prompts[int(np.argmin(is_finite))]!r}: "
                "look for extreme weights in the model."
            )
        return {prompt.ids: row.copy() for prompt, row in zip(prompts, logits, strict=True)}


@dataclass(frozen=True, repr=False)
class ModelAnswer:
    """What the model says on one prompt.

    Attributes:
        logits: of the token that follows, one for each token of the vocabulary.
    """

    prompt: Prompt
    logits: Float[np.ndarray, " vocab"]
    _runner: ModelRunner

    @property
    def answer(self) -> str:
        """The likeliest token, without a space before it."""
        return self._runner.tokens.decode_answer(int(np.argmax(self.logits)))

    @property
    def top(self) -> str:
        """The same as `answer`."""
        return self.answer

    def logit(self, text: str) -> float:
        """A token's logit.

        Args:
            text: with the space before it, or without where the task's answers have one.

        Raises:
            HypothesisError: it is no single token.
        """
        return float(self.logits[self._find_token(text)])

    def probability(self, text: str) -> float:
        """A token's probability; `text` as in `logit`."""
        return float(np.exp(self.logits[self._find_token(text)] - self._log_normalizer))

    @cached_property
    def metric(self) -> float:
        """The hypothesis's metric against this prompt's own answer.

        Raises:
            HypothesisError: the prompt was given as mere text, so that nothing says what should
                follow.
        """
        prompt, runner = self.prompt, self._runner
        if not prompt.pair.answer:
            raise HypothesisError(
                f"{prompt!r} is mere text: it has no answer, and so no {runner.metric.name}."
            )
        if runner.metric.needs_distractor and prompt.pair.distractor is None:
            raise HypothesisError(
                f"{runner.metric.name} needs a distractor, and {prompt!r} has none."
            )
        return runner.runs.score_logits(self.logits, runner.tokens.tokenise_prompt(prompt))

    def margin(self, texts: frozenset[str]) -> float:
        """How far the likeliest of these texts' tokens is above the likeliest other, in logits."""
        own = np.array(
            [
                self._runner.tokens.decode_answer(token) in texts
                for token in self._likeliest.tolist()
            ]
        )
        best = self.logits[self._likeliest]
        if own.all() or not own.any():
            return float("inf") if own.all() else float(-np.ptp(best))
        return float(best[own].max() - best[~own].max())

    @cached_property
    def _likeliest(self) -> np.ndarray:
        n = min(len(self.logits), 100)
        return np.argpartition(-self.logits, n - 1)[:n]

    @cached_property
    def _log_normalizer(self) -> float:
        top = float(self.logits.max())
        return top + float(np.log(np.exp(self.logits.astype(np.float64) - top).sum()))

    def _find_token(self, text: str) -> int:
        answer, tokens = self.prompt.pair.answer or "", self._runner.tokens
        if answer.startswith(" ") and not text.startswith(" "):
            text = f" {text}"
        return tokens.find_answer(self.prompt.text, text)

    def __repr__(self) -> str:
        return f"<on {self.prompt.text!r} the model says {self.answer!r}>"


class _AnswerMissing(BaseException):
    """A prompt must be run before the property can go on.

    No exception of the usual kind, so that no `except Exception` of a user's stops it.
    """


class RunCalls:
    """``run`` as a property of one case sees it.

    Attributes:
        answers: what it gave in this call, in order.
        missing: prompts that it could not answer yet.
    """

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self.answers: list[ModelAnswer] = []
        self.missing: list[Prompt] = []

    def __call__(self, what: Prompt | str) -> ModelAnswer:
        """What the model says on a prompt, or on a text.

        Raises:
            HypothesisError: it is neither, or not to be tokenised.
        """
        if isinstance(what, str):
            what = self._runner.tokens.make_plain_prompt(what)
        if not isinstance(what, Prompt):
            raise HypothesisError(f"run takes a prompt or a text, not {what!r}.")
        answer = self._runner.recall_answer(what)
        if answer is None:
            self.missing.append(what)
            raise _AnswerMissing
        self.answers.append(answer)
        return answer


def replay_calls(
    functions: Sequence[Callable[[RunCalls], T]], runner: ModelRunner, first: Sequence[Prompt] = ()
) -> list[tuple[T, RunCalls]]:
    """Call functions that ask for prompts, all of them together.

    Args:
        functions: each gets a ``run`` of its own, and is called until it knows all that it asks
            for.
        first: prompts that will be asked for.

    Raises:
        HypothesisError: a function goes on to ask for other prompts.
    """
    done: dict[int, tuple[T, RunCalls]] = {}
    to_run: list[Prompt] = list(first)
    for _ in range(_MOST_PASSES):
        for i, function in enumerate(functions):
            if i in done:
                continue
            run = RunCalls(runner)
            try:
                result: Any = function(run)
            except _AnswerMissing:
                result = None
            if run.missing:  # also where a bare except went on without an answer
                to_run += run.missing
            else:
                done[i] = result, run
        if len(done) == len(functions):
            return [done[i] for i in range(len(functions))]
        runner.answer_prompts(list(dict.fromkeys(to_run)))
        to_run = []
    raise HypothesisError(
        f"The property still asks for new prompts after {_MOST_PASSES} calls with the same "
        "arguments: it must ask for the same ones each time, so nothing in it may be random."
    )


def format_texts(answers: frozenset[str]) -> str:
    """Some of what may be said, for a person."""
    texts = sorted(answers)
    named = " or ".join(map(repr, texts[:_MOST_NAMED])) or "nothing"
    n_more = len(texts) - _MOST_NAMED
    return f"{named} or {n_more} others" if n_more > 0 else named
