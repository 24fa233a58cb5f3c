"""One property tested: its rate of exceptions measured on the task's own prompts, and exceptions
hunted and shrunk.

The two are apart because the hunt's distribution is adversarial: it says whether there are
exceptions, not how many.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import event, given, target
from hypothesis.errors import Flaky

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import Verdict, format_error
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import (
    OWN,
    Case,
    Check,
    Existence,
    Finding,
    check_of,
    findings,
)
from circuitgraph.hypotheses.properties.exceptions import find_prompts
from circuitgraph.hypotheses.properties.functions import UserFunction
from circuitgraph.hypotheses.properties.profiles import Profile, profile_of
from circuitgraph.hypotheses.properties.rates import Caught, Rate, measure
from circuitgraph.hypotheses.properties.strategies import batches
from circuitgraph.hypotheses.properties.subject import Subject
from circuitgraph.hypotheses.study import Study

_KNOWN_SEED = 7
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
        rate = measure(self._check, self._property)
        if rate.n == 0:
            why = "; ".join(f"{reason} ({n})" for reason, n in rate.vacuous.items())
            return Verdict(
                False, f"{self._property.name}: no prompt on which it says anything: {why}"
            )
        hunted = self.hunt()
        return self._judged(rate, hunted, stale)

    def hunt(self) -> Caught | None:
        """The simplest exception that `hypothesis` finds, known ones left aside; None if it finds
        none.

        Raises:
            CircuitGraphError: the property cannot be tested as it is written.
        """
        check, last = self._check, []
        n_bytes = self._supply.bytes_per_prompt + check.n_bytes

        def one(rng: np.random.Generator) -> Case:
            return check.draw(rng, self._supply.draw(rng))

        def exceptions(cases: list[Case]) -> None:
            cases = [case for case in cases if case.prompt.text not in self._known]
            self.n_cases += len(cases)
            found = findings(check, self._property, cases) if cases else []
            for case, finding in zip(cases, found, strict=True):
                for note in (*case.notes, *([finding.vacuous] if finding.vacuous else [])):
                    event(note)
            if self._profile.climb and found:
                target(max(_finite(finding.drop) for finding in found), label="drop")
            bad = [Caught(*both) for both in zip(cases, found, strict=True) if both[1].failure]
            if bad:
                last.append(bad[0])
                raise _Broken if bad[0].finding.error else _Found

        where = self._property.location
        settled = self._profile.settings(self._property.max_examples)
        test = settled(given(batches(one, n_bytes))(exceptions))
        # All hunts share one function: file, hypothesis and property keep their examples and seeds
        # apart. The file's folder does not count, or the ci profile would draw others in another
        # clone.
        key = "\n".join(
            [Path(where.file).name, check.subject.study.hypothesis.name, self._property.name]
        )
        test.hypothesis.inner_test._hypothesis_internal_add_digest = key.encode()
        try:
            test()
        except (_Found, _Broken):
            return last[-1]
        except Flaky as error:
            if not last:
                raise HypothesisError(
                    f"{where}: {self._property.name} is not the same twice: {format_error(error)}"
                ) from error
            caught: Caught = last[-1]
            note = "\nThis was not found again: it lies within rounding of the bound, or the property is random."
            return Caught(
                caught.case, Finding(caught.finding.failure + note, error=caught.finding.error)
            )
        return None

    def _obeying_exceptions(self) -> list[Prompt]:
        """Known exceptions that are none any more: no case of theirs fails."""
        rng = np.random.default_rng([self._check.subject.study.seed, _KNOWN_SEED])
        obeying = []
        for prompt in find_prompts(self._property.exceptions, self._supply):
            cases = [self._check.draw(rng, prompt) for _ in range(_TRIED)]
            if not any(finding.failure for finding in findings(self._check, self._property, cases)):
                obeying.append(prompt)
        return obeying

    def _judged(self, rate: Rate, hunted: Caught | None, stale: list[Prompt]) -> Verdict:
        allow, name = self._property.allow, self._property.name
        strangers = [caught for caught in rate.caught if caught.case.prompt.text not in self._known]
        error = next((c for c in (hunted, *strangers) if c is not None and c.finding.error), None)
        if error is not None:
            return Verdict(False, f"{name}: an error in the property", str(error))
        simplest = hunted or next(iter(strangers), None)
        held, share = (
            (simplest is None, f"{rate.shown}, none allowed") if not allow else rate.against(allow)
        )
        found = f"{self.n_cases:,} more tried" if simplest is None else "the simplest below"
        lines = [] if simplest is None else [str(simplest)]
        if held and simplest is not None:
            lines.append(
                f"To keep it as a known exception: exceptions=[{simplest.case.prompt.text!r}]"
            )
        lines += [f"No exception any more, remove it: {prompt.text!r}" for prompt in stale]
        lines += [
            f"{n} of {rate.n + rate.vacuous.total()} prompts: {what}" for what, n in rate.counted
        ]
        return Verdict(held, f"{name}: {share}; {found}", "\n".join(lines))


def _finite(drop: float) -> float:
    return float(np.clip(np.nan_to_num(drop), -1e6, 1e6))
