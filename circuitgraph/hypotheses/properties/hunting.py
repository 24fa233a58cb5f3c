"""One property tested: its rate of exceptions measured on the task's own prompts, and exceptions hunted and shrunk.

The two are apart because the hunt's distribution is adversarial: it says whether there are exceptions, not how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import event, given, target
from hypothesis.errors import Flaky

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import CircuitGraphError, DataError, HypothesisError
from circuitgraph.evaluation.intervals import proportion
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.located import innermost, said, shown
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import OWN, Case, Check, Existence, Finding, check_of
from circuitgraph.hypotheses.properties.exceptions import find_prompts
from circuitgraph.hypotheses.properties.functions import UserFunction
from circuitgraph.hypotheses.properties.profiles import Profile, profile_of
from circuitgraph.hypotheses.properties.strategies import MOST, batches, chosen
from circuitgraph.hypotheses.properties.subject import Subject
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.verdict import Verdict

N_MEASURED = 1000  # prompts on which the rate is measured
_CASES_SEED, _KNOWN_SEED = 6, 7
_TRIED = 32  # cases of a known exception


def test_property(study: Study, property: Property, profile: str = "dev") -> Verdict:  # noqa: PT028  no test
    """Test one property of a study's hypothesis.

    Args:
        profile: ``dev``, ``ci`` or ``hunt``; see `PROFILES`.

    Raises:
        CircuitGraphError: the property cannot be tested as it is written.
    """
    subject = Subject.of(study)
    chosen_profile = profile_of(profile)
    check = UserFunction(subject, property) if property.kind in OWN else check_of(subject, property)
    if isinstance(check, Existence):
        return check.verdict()
    return Trial(check, property, chosen_profile).verdict()


test_property.__test__ = False  # type: ignore[attr-defined]  # it is named like a test, and is none


@dataclass(frozen=True)
class Caught:
    """A case and what is wrong with it."""

    case: Case
    finding: Finding

    def __str__(self) -> str:
        return f"{self.case}\n{self.finding.failure}"


@dataclass
class Rate:
    """What the task's own prompts said.

    Attributes:
        n: prompts of which the property says something; vacuous: the others.
        caught: the exceptions, the shortest first.
    """

    n: int = 0
    vacuous: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    caught: list[Caught] = field(default_factory=list)

    @property
    def interval(self) -> Interval:
        """The share of exceptions with its 95 % Wilson interval."""
        return proportion(len(self.caught), self.n)


class _Found(Exception):  # noqa: N818  not an error of ours: it tells hypothesis that a case fails
    pass


class _Broken(Exception):  # noqa: N818
    pass


class Trial:
    """One property on its way to a verdict."""

    def __init__(self, check: Check, property: Property, profile: Profile) -> None:
        self._check, self._property, self._profile = check, property, profile
        self._supply = check.subject.supply
        self._known = set(property.exceptions)
        self.n_cases = 0

    def verdict(self) -> Verdict:
        """All of it."""
        stale = self._obeying_exceptions()
        rate = self.measure()
        if rate.n == 0:
            why = "; ".join(f"{reason} ({n})" for reason, n in rate.vacuous.items())
            return Verdict(False, f"{self._property.name}: no prompt on which it says anything: {why}")
        hunted = self.hunt()
        return self._judged(rate, hunted, stale)

    def measure(self) -> Rate:
        """The rate on a thousand prompts of the evaluation split, or on as many as there are."""
        prompts = _some(self._check.subject.study)
        rng = np.random.default_rng([self._check.subject.study.seed, _CASES_SEED])
        rate = Rate()
        for start in range(0, len(prompts), MOST):
            cases = [self._check.draw(rng, prompt) for prompt in prompts[start : start + MOST]]
            for case, finding in zip(cases, self._findings(cases), strict=True):
                rate.notes.update(case.notes)
                if finding.vacuous:
                    rate.vacuous[finding.vacuous] += 1
                    continue
                rate.n += 1
                if finding.failure:
                    rate.caught.append(Caught(case, finding))
        rate.caught.sort(key=lambda caught: (not caught.finding.error, len(caught.case.prompt)))
        return rate

    def hunt(self) -> Caught | None:
        """The simplest exception that `hypothesis` finds, known ones left aside; None if it finds none.

        Raises:
            CircuitGraphError: the property cannot be tested as it is written.
        """
        check, last = self._check, []
        n_bytes = self._supply.bytes_per_prompt + check.n_bytes
        one = chosen(lambda rng: check.draw(rng, self._supply.draw(rng)), n_bytes)

        def exceptions(cases: list[Case]) -> None:
            cases = [case for case in cases if case.prompt.text not in self._known]
            self.n_cases += len(cases)
            findings = self._findings(cases) if cases else []
            for case, finding in zip(cases, findings, strict=True):
                for note in (*case.notes, *([finding.vacuous] if finding.vacuous else [])):
                    event(note)
            if self._profile.climb and findings:
                target(max(_finite(finding.drop) for finding in findings), label="drop")
            bad = [Caught(*both) for both in zip(cases, findings, strict=True) if both[1].failure]
            if bad:
                last.append(bad[0])
                raise _Broken if bad[0].finding.error else _Found

        where = self._property.where
        settled = self._profile.settings(self._property.max_examples)
        test = settled(given(batches(one, n_bytes))(exceptions))
        # All hunts share one function: the file, hypothesis and property keep their examples and seeds apart.
        key = "\n".join([where.file, check.subject.study.hypothesis.name, self._property.name])
        test.hypothesis.inner_test._hypothesis_internal_add_digest = key.encode()
        try:
            test()
        except (_Found, _Broken):
            return last[-1]
        except Flaky as error:
            if not last:
                raise HypothesisError(f"{where}: {self._property.name} is not the same twice: {said(error)}") from error
            caught: Caught = last[-1]
            note = "\nThis was not found again: it lies within rounding of the bound, or the property is random."
            return Caught(caught.case, Finding(caught.finding.failure + note, error=caught.finding.error))
        return None

    def _findings(self, cases: Sequence[Case]) -> list[Finding]:
        """What the check finds. An error in the user's own functions is a finding as well."""
        try:
            return self._check.findings(cases)
        except CircuitGraphError:
            raise
        except Exception as error:
            where = innermost(error, self._property.where.file)
            if where is None:
                raise
            if len(cases) > 1:
                return [finding for case in cases for finding in self._findings([case])]
            return [Finding(f"{shown(where)}: {said(error)}", error=True)]

    def _obeying_exceptions(self) -> list[Prompt]:
        """Known exceptions that are none any more: no case of theirs fails."""
        rng = np.random.default_rng([self._check.subject.study.seed, _KNOWN_SEED])
        obeying = []
        for prompt in find_prompts(self._property.exceptions, self._supply):
            findings = self._findings([self._check.draw(rng, prompt) for _ in range(_TRIED)])
            if not any(finding.failure for finding in findings):
                obeying.append(prompt)
        return obeying

    def _judged(self, rate: Rate, hunted: Caught | None, stale: list[Prompt]) -> Verdict:
        allow, name = self._property.allow, self._property.name
        strangers = [caught for caught in rate.caught if caught.case.prompt.text not in self._known]
        error = next((c for c in (hunted, *strangers) if c is not None and c.finding.error), None)
        if error is not None:
            return Verdict(False, f"{name}: an error in the property", str(error))
        interval = rate.interval
        share = f"{_percent(interval.mean)} of {rate.n:,} prompts are exceptions [{_percent(interval.low)}, "
        share += f"{_percent(interval.high)}], {_percent(allow)} allowed"
        simplest = hunted or next(iter(strangers), None)
        found = f"{self.n_cases:,} more tried" if simplest is None else "the simplest below"
        held = interval.low <= allow if allow else simplest is None
        lines = [] if simplest is None else [str(simplest)]
        if held and simplest is not None:
            lines.append(f"To keep it as a known exception: exceptions=[{simplest.case.prompt.text!r}]")
        lines += [f"No exception any more, remove it: {prompt.text!r}" for prompt in stale]
        lines += [f"{n} of {rate.n + rate.vacuous.total()} prompts: {what}" for what, n in _counted(rate)]
        return Verdict(held, f"{name}: {share}; {found}", "\n".join(lines))


def _counted(rate: Rate) -> list[tuple[str, int]]:
    """What was vacuous, and why."""
    return [*rate.vacuous.items(), *rate.notes.items()]


def _some(study: Study) -> list[Prompt]:
    """Prompts of the evaluation split, as many as there are."""
    n = N_MEASURED
    while True:
        try:
            return study.prompts(n)
        except DataError:
            if n < 2:
                raise
            n //= 2


def _finite(drop: float) -> float:
    return float(np.clip(np.nan_to_num(drop), -1e6, 1e6))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
