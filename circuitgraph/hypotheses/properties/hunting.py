"""One property tested: its rate of exceptions is measured, and counterexamples are hunted.

The rate is measured on the task's own prompts. The hunt's distribution is adversarial, so it says
whether there are exceptions, not how many; what it finds is shrunk.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import event, given, target
from hypothesis.errors import Flaky

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import Verdict, format_error
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import (
    USER_KINDS,
    CaseResult,
    ExistenceCheck,
    PropertyCase,
    PropertyCheck,
    make_check,
    run_check,
)
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.functions import UserFunctionCheck
from circuitgraph.hypotheses.properties.known_exceptions import find_prompts
from circuitgraph.hypotheses.properties.profiles import HuntProfile, find_profile
from circuitgraph.hypotheses.properties.rates import Counterexample, ExceptionRate, measure_rate
from circuitgraph.hypotheses.properties.strategies import case_lists
from circuitgraph.hypotheses.study import Study

_KNOWN_SEED = 7
_N_KNOWN_CASES = 32  # cases that are tried of a known exception


def test_property(study: Study, property: Property, profile: str = "dev") -> Verdict:  # noqa: PT028  no test
    """Test one property of a study's hypothesis.

    Args:
        profile: ``dev``, ``ci`` or ``hunt``; see `PROFILES`.

    Raises:
        CircuitGraphError: the property cannot be tested as it is written.
    """
    context = PropertyContext.of_study(study)
    hunt_profile = find_profile(profile)
    if property.kind in USER_KINDS:
        check = UserFunctionCheck(context, property)
    else:
        check = make_check(context, property)
    if isinstance(check, ExistenceCheck):
        return check.reach_verdict()
    return PropertyTest(check, property, hunt_profile).reach_verdict()


test_property.__test__ = False  # type: ignore[attr-defined]  # it is named like a test, and is none


# Two kinds, since hypothesis shrinks failures of different kinds apart. No errors of ours: they
# only tell hypothesis that a case fails.
class _CaseFailsError(Exception):
    pass


class _PropertyBrokenError(Exception):
    pass


class PropertyTest:
    """One property on its way to a verdict."""

    def __init__(self, check: PropertyCheck, property: Property, profile: HuntProfile) -> None:
        self._check, self._property, self._profile = check, property, profile
        self._source = check.context.source
        self._known = set(property.exceptions)
        self._failures: list[Counterexample] = []
        self.n_cases = 0
        self._has_donors = False

    def reach_verdict(self) -> Verdict:
        """Look at known exceptions, measure the rate, hunt, and sum up."""
        stale = self._find_stale_exceptions()
        rate = measure_rate(self._check, self._property)
        if rate.n == 0:
            why = "; ".join(f"{reason} ({n})" for reason, n in rate.vacuous.items())
            summary = f"{self._property.name}: not shown, of no evaluation prompt it says anything"
            return Verdict(False, f"{summary}: {why}", undecided=True)
        return self._sum_up(rate, self.hunt_counterexample(), stale)

    def hunt_counterexample(self) -> Counterexample | None:
        """The simplest exception that `hypothesis` finds, known ones left aside; None if it finds
        none.

        Raises:
            CircuitGraphError: the property cannot be tested as it is written.
        """
        self._failures = []
        try:
            self._make_test()()
        except (_CaseFailsError, _PropertyBrokenError):
            return self._failures[-1]
        except Flaky as error:
            if not self._failures:
                raise HypothesisError(
                    f"{self._property.location}: {self._property.name} is not the same twice: "
                    f"{format_error(error)}"
                ) from error
            last = self._failures[-1]
            note = (
                "\nThis was not found again: it lies within rounding of the bound, or the property "
                "is random."
            )
            return Counterexample(
                last.case, CaseResult(last.result.failure + note, error=last.result.error)
            )
        return None

    def _make_test(self) -> Any:
        """The hunt as a test function of `hypothesis`."""
        check, source = self._check, self._source

        def draw_case(rng: Choices) -> PropertyCase:
            return check.draw_case(rng, source.draw_prompt(rng))

        def try_cases(cases: list[PropertyCase]) -> None:
            self._try_cases(cases)

        settings = self._profile.make_settings(self._property.max_examples)
        strategy = case_lists(draw_case, source.bytes_per_prompt + check.n_bytes)
        test = settings(given(strategy)(try_cases))
        # All hunts share one function: file, hypothesis and property keep their examples and seeds
        # apart. The file's folder does not count, or the ci profile would draw other examples in
        # another clone.
        names = [
            Path(self._property.location.file).name,
            check.context.study.hypothesis.name,
            self._property.name,
        ]
        # The plugin of hypothesis for pytest tells parametrised tests apart by the same attribute.
        # The public way is find(database_key=...), but find() gives one seed to all tests of a
        # derandomized profile, and suppresses every health check.
        test.hypothesis.inner_test._hypothesis_internal_add_digest = "\n".join(names).encode()
        return test

    def _try_cases(self, cases: list[PropertyCase]) -> None:
        """One example of the hunt: raises where a case fails."""
        cases = [case for case in cases if case.prompt.text not in self._known]
        self.n_cases += len(cases)
        self._has_donors = self._has_donors or any(case.donor is not None for case in cases)
        results = run_check(self._check, self._property, cases) if cases else []
        for case, result in zip(cases, results, strict=True):
            for note in (*case.notes, *([result.vacuous] if result.vacuous else [])):
                event(note)
        if self._profile.climb and results:
            target(max(_clip_drop(result.drop) for result in results), label="drop")
        failures = [
            Counterexample(case, result)
            for case, result in zip(cases, results, strict=True)
            if result.failure
        ]
        if failures:
            self._failures.append(failures[0])
            raise _PropertyBrokenError if failures[0].result.error else _CaseFailsError

    def _find_stale_exceptions(self) -> list[Prompt]:
        """Known exceptions that are none any more: no case of theirs fails."""
        rng = np.random.default_rng([self._check.context.study.seed, _KNOWN_SEED])
        stale = []
        for prompt in find_prompts(self._property.exceptions, self._source):
            cases = [self._check.draw_case(rng, prompt) for _ in range(_N_KNOWN_CASES)]
            if not any(result.failure for result in run_check(self._check, self._property, cases)):
                stale.append(prompt)
        return stale

    def _sum_up(
        self, rate: ExceptionRate, hunted: Counterexample | None, stale: list[Prompt]
    ) -> Verdict:
        allow, name = self._property.allow, self._property.name
        measured = [c for c in rate.counterexamples if c.case.prompt.text not in self._known]
        error = next((c for c in (hunted, *measured) if c is not None and c.result.error), None)
        if error is not None:
            return Verdict(False, f"{name}: an error in the property", str(error))
        simplest = hunted or next(iter(measured), None)
        compared = Verdict(simplest is None, f"{rate.summary}, none allowed")
        if allow:
            compared = rate.compare_allowed(allow)
        hunt_text = "the simplest below" if simplest else f"{self.n_cases:,} more tried"
        if simplest is None or hunted is not None:  # else it is one of those that were measured
            hunt_text += f", {self._source.describe_drawn()}"
            hunt_text += f", with donors {self._source.describe_pool()}" if self._has_donors else ""
        lines = [] if simplest is None else [str(simplest)]
        if compared.held and simplest is not None:
            lines.append(
                f"To keep it as a known exception: exceptions=[{simplest.case.prompt.text!r}]"
            )
        lines += [f"No exception any more, remove it: {prompt.text!r}" for prompt in stale]
        n_prompts = rate.n + rate.vacuous.total()
        lines += [f"{n} of {n_prompts} prompts: {note}" for note, n in rate.note_counts]
        summary = f"{name}: {compared.summary}; {hunt_text}"
        return replace(compared, summary=summary, detail="\n".join(lines))


def _clip_drop(drop: float) -> float:
    return float(np.clip(np.nan_to_num(drop), -1e6, 1e6))
