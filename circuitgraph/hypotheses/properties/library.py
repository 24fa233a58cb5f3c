"""Properties of the library that run the model as it is.

They are behaviour, program, relabelling and attention.
"""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.choices import Choices
from circuitgraph.engine.tree.swap import read_attention
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import format_error
from circuitgraph.hypotheses.program import collect_answers, make_key
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import (
    CaseResult,
    PropertyCase,
    PropertyCheck,
    library,
)
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.running import format_texts


@library.register("behaviour")
class BehaviourCheck(PropertyCheck):
    """The model's likeliest token is what the program says."""

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        prompts = [case.prompt for case in cases]
        results = []
        answers = self.context.runner.answer_prompts(prompts)
        for prompt, answer in zip(prompts, answers, strict=True):
            expected = self.context.program.compute_answers(prompt)
            if not expected:
                results.append(CaseResult(vacuous="the program says nothing"))
                continue
            failure = ""
            if answer.answer not in expected:
                texts = format_texts(expected)
                failure = f"the program says {texts}, the model {answer.answer!r}"
            results.append(CaseResult(failure, -answer.margin(expected)))
        return results


@library.register("program")
class ProgramCheck(PropertyCheck):
    """The program, without any model, gives every prompt hashable values and an answer that the
    task calls right.
    """

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        return [CaseResult(self._find_problem(case.prompt)) for case in cases]

    def _find_problem(self, prompt: Prompt) -> str:
        program = self.context.program
        try:
            values = program.compute_values(prompt)
        except Exception as error:
            return f"the program fails: {format_error(error)}"
        for name, value in values.items():
            try:
                make_key(value)
            except TypeError as error:
                return f"{name} is {value!r}, which cannot be compared: {format_error(error)}"
        answers = collect_answers(values[program.output])
        if answers and answers <= prompt.right:
            return ""
        return f"the program says {format_texts(answers)}, the task {format_texts(prompt.right)}"


@library.register("relabelling")
class RelabellingCheck(PropertyCheck):
    """With words exchanged that the task treats alike, the model's answer is the exchanged
    answer.
    """

    n_bytes = 16

    def __init__(self, context: PropertyContext, of: tuple[str, ...]) -> None:
        super().__init__(context, of)
        self._relabeller = context.source.relabeller

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        return PropertyCase(prompt, relabel=self._relabeller.draw_relabelling(rng, [prompt]))

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        relabellings = [case.relabel for case in cases if case.relabel is not None]
        prompts = [case.prompt for case in cases]
        before = self.context.runner.answer_prompts(prompts)
        after = self.context.runner.answer_prompts(
            [relabel(prompt) for relabel, prompt in zip(relabellings, prompts, strict=True)]
        )
        results = []
        for relabel, one, other in zip(relabellings, before, after, strict=True):
            expected = relabel(one.answer)
            failure = ""
            if other.answer != expected:
                failure = (
                    f"the model says {one.answer!r}, but {other.answer!r} and not {expected!r} of "
                    f"{other.prompt!r}"
                )
            results.append(CaseResult(failure, -other.margin(frozenset([expected]))))
        return results


@library.register("attention")
class AttentionCheck(PropertyCheck):
    """The heads that carry `of`, at their roles, look most at the role `to`."""

    n_about = 1

    def __init__(self, context: PropertyContext, of: tuple[str, ...], *, to: str) -> None:
        super().__init__(context, of)
        self._to = to
        self._heads = [
            site
            for site in context.find_variable(of[0]).sites
            if site.kind == "head" and site.roles
        ]
        if not self._heads:
            raise HypothesisError(
                f"{of[0]!r} is at no head with a role: only heads attend, head(0, 3) @ 'B1'."
            )
        if not any(to in prompt.position for prompt in context.source.pool):
            raise HypothesisError(
                f"The task has no role {to!r} that {self._heads[0]} could look at."
            )

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        activations = self.context.make_activations([case.prompt for case in cases])
        # [launch, query position, key position] for each head
        patterns = {head: read_attention(activations, head) for head in self._heads}
        results = []
        for row, case in enumerate(cases):
            prompt = case.prompt
            key_at = prompt.position.get(self._to)
            if key_at is None:
                results.append(CaseResult(vacuous=f"no role {self._to}"))
                continue
            rows = [
                (head, patterns[head][row, prompt.position[role]])
                for head in self._heads
                for role in head.roles
            ]
            drops = [(float(keys.max() - keys[key_at]), head, keys.argmax()) for head, keys in rows]
            drop, head, most_at = max(drops, key=lambda entry: entry[0])
            failure = (
                f"{head} looks most at position {most_at} ({prompt.tokens[most_at]!r}), not at "
                f"{self._to} ({prompt.tokens[key_at]!r})"
            )
            results.append(CaseResult(failure if drop > 0 else "", drop))
        return results
