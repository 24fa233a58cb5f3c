"""Properties that a user's function is: ``holds`` asserts, and what ``never`` returns must not be
true.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from circuitgraph.errors import HypothesisError, list_problems
from circuitgraph.hypotheses.diagnostics import format_error, format_location, locate_error
from circuitgraph.hypotheses.language import GIVEN, Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import Case, Check, Finding
from circuitgraph.hypotheses.properties.running import Run, replay
from circuitgraph.hypotheses.properties.subject import Subject

_SHOWN = 6  # answers of the model beside a failure


class UserFunction(Check):
    """A property as a function of what its parameters name: ``p``, ``donor``, ``run``, ``relabel``."""

    n_bytes = 16

    def __init__(self, subject: Subject, property: Property) -> None:
        super().__init__(subject, ())
        function = property.function
        if function is None:
            raise HypothesisError(
                f"{property.location}: the property {property.name!r} has no function."
            )
        self._property, self._function = property, function
        self._wanted = _parameters(property, function)
        self._relabeller = subject.supply.relabeller if "relabel" in self._wanted else None
        if "donor" in self._wanted:
            self.n_bytes += subject.supply.bytes_per_prompt

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        donor = self.subject.supply.draw(rng) if "donor" in self._wanted else None
        relabel = None
        if self._relabeller is not None:
            relabel = self._relabeller.draw(rng, [prompt] if donor is None else [prompt, donor])
        return Case(prompt, donor, relabel)

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        first = [p for case in cases for p in (case.prompt, case.donor) if p is not None]
        calls = [partial(self._called, case) for case in cases]
        return [
            finding
            if not finding.failure
            else Finding(_with_answers(finding.failure, run), error=finding.error)
            for finding, run in replay(
                calls, self.subject.runner, first if "run" in self._wanted else ()
            )
        ]

    def _called(self, case: Case, run: Run) -> Finding:
        given = {"p": case.prompt, "donor": case.donor, "run": run, "relabel": case.relabel}
        try:
            result = self._function(**{name: given[name] for name in self._wanted})
        except AssertionError as error:
            return Finding(self._asserted(error))
        except Exception as error:
            where = locate_error(error, self._file) or self._property.location
            return Finding(f"{format_location(where)}: {format_error(error)}", error=True)
        return self._judged(result)

    def _judged(self, result: Any) -> Finding:
        if self._property.kind == "never":
            return Finding(f"never, but it is: the function returned {result!r}" if result else "")
        refused = (
            isinstance(result, (bool, np.bool_)) and not result
        )  # somebody who forgot to write assert
        return Finding("the function returned False" if refused else "")

    def _asserted(self, error: AssertionError) -> str:
        """The user's message, or the line that asserts."""
        where = locate_error(error, self._file) or self._property.location
        line = linecache.getline(where.file, where.line).strip()
        message = str(error).strip()
        return f"{format_location(where)}: {line}" + (f"\n{message}" if message else "")

    @property
    def _file(self) -> str:
        return self._property.location.file


def _parameters(property: Property, function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    wanted = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    problems = [f"it asks for {name!r}" for name in wanted if name not in GIVEN]
    if not wanted:
        problems.append("it asks for nothing, so it says nothing of any prompt")
    if problems:
        title = (
            f"{property.location}: the property {property.name!r} can be given {', '.join(GIVEN)}:"
        )
        raise HypothesisError(list_problems(title, problems))
    return tuple(name for name in wanted)


def _with_answers(failure: str, run: Run) -> str:
    shown = dict.fromkeys(
        f"the model says {answer.answer!r} on {answer.prompt.text!r}" for answer in run.asked
    )
    return "\n".join([failure, *list(shown)[:_SHOWN]])
