"""Properties of the library that run the model as it is: behaviour, program, relabelling,
attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuitgraph.engine.tree.swap import attention
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import format_error
from circuitgraph.hypotheses.program import collect_answers, make_key
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import Case, Check, Finding, library
from circuitgraph.hypotheses.properties.running import texts
from circuitgraph.hypotheses.properties.subject import Subject


@library.register("behaviour")
class Behaviour(Check):
    """The model's likeliest token is what the program says."""

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        prompts = [case.prompt for case in cases]
        found = []
        for prompt, answer in zip(prompts, self.subject.runner.answers(prompts), strict=True):
            expected = self.subject.program.compute_answers(prompt)
            if not expected:
                found.append(Finding(vacuous="the program says nothing"))
                continue
            drop = -answer.margin(expected)
            wrong = answer.answer not in expected
            failure = (
                f"the program says {texts(expected)}, the model {answer.answer!r}" if wrong else ""
            )
            found.append(Finding(failure, drop))
        return found


@library.register("program")
class OfProgram(Check):
    """The program, without any model, gives every prompt hashable values and an answer that the
    task calls right.
    """

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        return [Finding(self._problem(case.prompt)) for case in cases]

    def _problem(self, prompt: Prompt) -> str:
        program = self.subject.program
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
        return f"the program says {texts(answers)}, the task {texts(prompt.right)}"


@library.register("relabelling")
class RelabellingFollows(Check):
    """With words exchanged that the task treats alike, the model's answer is the exchanged answer."""

    n_bytes = 16

    def __init__(self, subject: Subject, of: tuple[str, ...]) -> None:
        super().__init__(subject, of)
        self._relabeller = subject.supply.relabeller

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        return Case(prompt, relabel=self._relabeller.draw(rng, [prompt]))

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        there = [case.relabel for case in cases if case.relabel is not None]
        before = self.subject.runner.answers([case.prompt for case in cases])
        after = self.subject.runner.answers(
            [r(case.prompt) for r, case in zip(there, cases, strict=True)]
        )
        found = []
        for relabel, one, other in zip(there, before, after, strict=True):
            expected = relabel(one.answer)
            wrong = f"the model says {one.answer!r}, but {other.answer!r} and not {expected!r} of {other.prompt!r}"
            found.append(
                Finding(
                    wrong if other.answer != expected else "", -other.margin(frozenset([expected]))
                )
            )
        return found


@library.register("attention")
class Attends(Check):
    """The heads that carry `of`, at their roles, look most at the role `to`."""

    n_about = 1

    def __init__(self, subject: Subject, of: tuple[str, ...], *, to: str) -> None:
        super().__init__(subject, of)
        self._sites = [
            site for site in subject.variable(of[0]).sites if site.kind == "head" and site.roles
        ]
        self._to = to
        if not self._sites:
            raise HypothesisError(
                f"{of[0]!r} is at no head with a role: only heads attend, head(0, 3) @ 'B1'."
            )
        if not any(to in prompt.position for prompt in subject.supply.pool):
            raise HypothesisError(
                f"The task has no role {to!r} that {self._sites[0]} could look at."
            )

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        pool = self.subject.pool([case.prompt for case in cases])
        patterns = {site: attention(pool, site) for site in self._sites}
        found = []
        for row, case in enumerate(cases):
            aim = case.prompt.position.get(self._to)
            if aim is None:
                found.append(Finding(vacuous=f"no role {self._to}"))
                continue
            looks = [
                (s, patterns[s][row, case.prompt.position[role]])
                for s in self._sites
                for role in s.roles
            ]
            short = [
                (float(look.max() - look[aim]), site, int(look.argmax())) for site, look in looks
            ]
            drop, site, at = max(short, key=lambda entry: entry[0])
            role = f"{self._to} ({case.prompt.tokens[aim]!r})"
            wrong = (
                f"{site} looks most at position {at} ({case.prompt.tokens[at]!r}), not at {role}"
            )
            found.append(Finding(wrong if drop > 0 else "", drop))
        return found
