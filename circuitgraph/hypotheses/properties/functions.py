"""Properties that are a user's function: ``holds`` asserts, ``never`` must return nothing true."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError, list_problems
from circuitgraph.hypotheses.diagnostics import format_error, format_location, locate_error
from circuitgraph.hypotheses.language import GIVEN, Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import CaseResult, PropertyCase, PropertyCheck
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.running import RunCalls, replay_calls

_MOST_ANSWERS = 6  # answers of the model beside a failure


class UserFunctionCheck(PropertyCheck):
    """A property as a user's function of some of ``p``, ``donor``, ``run`` and ``relabel``."""

    n_bytes = 16

    def __init__(self, context: PropertyContext, property: Property) -> None:
        super().__init__(context, ())
        function = property.function
        if function is None:
            raise HypothesisError(
                f"{property.location}: the property {property.name!r} has no function."
            )
        self._property, self._function = property, function
        self._parameters = _check_parameters(property, function)
        self._relabeller = context.source.relabeller if "relabel" in self._parameters else None
        if "donor" in self._parameters:
            self.n_bytes += context.source.bytes_per_prompt

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        donor = self.context.source.draw_prompt(rng) if "donor" in self._parameters else None
        relabel = None
        if self._relabeller is not None:
            prompts = [prompt] if donor is None else [prompt, donor]
            relabel = self._relabeller.draw_relabelling(rng, prompts)
        return PropertyCase(prompt, donor, relabel)

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        prompts = [p for case in cases for p in (case.prompt, case.donor) if p is not None]
        calls = [partial(self._call_function, case) for case in cases]
        return [
            result
            if not result.failure
            else CaseResult(_append_answers(result.failure, run), error=result.error)
            for result, run in replay_calls(
                calls, self.context.runner, prompts if "run" in self._parameters else ()
            )
        ]

    def _call_function(self, case: PropertyCase, run: RunCalls) -> CaseResult:
        arguments = {"p": case.prompt, "donor": case.donor, "run": run, "relabel": case.relabel}
        try:
            returned = self._function(**{name: arguments[name] for name in self._parameters})
        except AssertionError as error:
            return CaseResult(self._describe_assertion(error))
        except Exception as error:
            where = locate_error(error, self._file) or self._property.location
            return CaseResult(f"{format_location(where)}: {format_error(error)}", error=True)
        return self._judge_returned(returned)

    def _judge_returned(self, returned: Any) -> CaseResult:
        if self._property.kind == "never":
            return CaseResult(
                f"never, but it is: the function returned {returned!r}" if returned else ""
            )
        # False is what a user returns who forgot to write assert.
        is_false = isinstance(returned, (bool, np.bool_)) and not returned
        return CaseResult("the function returned False" if is_false else "")

    def _describe_assertion(self, error: AssertionError) -> str:
        """The user's message, or the line that asserts."""
        where = locate_error(error, self._file) or self._property.location
        line = linecache.getline(where.file, where.line).strip()
        message = str(error).strip()
        return f"{format_location(where)}: {line}" + (f"\n{message}" if message else "")

    @property
    def _file(self) -> str:
        return self._property.location.file


def _check_parameters(property: Property, function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's required parameters; raises where one cannot be given."""
    parameters = inspect.signature(function).parameters.values()
    names = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    problems = [f"it asks for {name!r}" for name in names if name not in GIVEN]
    if not names:
        problems.append("it asks for nothing, so it says nothing of any prompt")
    if problems:
        title = (
            f"{property.location}: the property {property.name!r} can be given {', '.join(GIVEN)}:"
        )
        raise HypothesisError(list_problems(title, problems))
    return tuple(names)


def _append_answers(failure: str, run: RunCalls) -> str:
    lines = dict.fromkeys(
        f"the model says {answer.answer!r} on {answer.prompt.text!r}" for answer in run.answers
    )
    return "\n".join([failure, *list(lines)[:_MOST_ANSWERS]])
