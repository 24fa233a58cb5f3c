"""How many prompts break a property: a share of the task's own prompts, with its interval."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import DataError
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import (
    N_CASES,
    CaseResult,
    PropertyCase,
    PropertyCheck,
    run_check,
)
from circuitgraph.hypotheses.study import Study

N_MEASURED = 1000  # prompts on which a rate is measured, at least
_MOST_MEASURED = 10_000
# Prompts per allowed exception: with 4 of them, not even zero exceptions would show the rate.
_PER_ALLOWED = 8
_SEED = 6


@dataclass(frozen=True)
class Counterexample:
    """A case and what is wrong with it."""

    case: PropertyCase
    result: CaseResult

    def __str__(self) -> str:
        return f"{self.case}\n{self.result.failure}"


@dataclass
class ExceptionRate:
    """What the task's own prompts said.

    Attributes:
        n: prompts of which the property says something; vacuous: the others, by reason.
        counterexamples: the exceptions, the shortest first.
    """

    n: int = 0
    vacuous: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    counterexamples: list[Counterexample] = field(default_factory=list)

    @property
    def interval(self) -> Interval:
        """The share of exceptions with its 95 % Wilson interval."""
        return estimate_proportion(len(self.counterexamples), self.n)

    @property
    def summary(self) -> str:
        """The same in words."""
        share = self.interval
        bounds = f"[{_format_percent(share.low)}, {_format_percent(share.high)}]"
        share_text = f"{_format_percent(share.mean)} of {self.n:,} evaluation prompts"
        return f"{share_text} are exceptions {bounds}"

    @property
    def note_counts(self) -> list[tuple[str, int]]:
        """What was vacuous and why, and what is worth knowing."""
        return [*self.vacuous.items(), *self.notes.items()]

    def add_result(self, case: PropertyCase, result: CaseResult) -> None:
        """Count one more case."""
        self.notes.update(case.notes)
        if result.vacuous:
            self.vacuous[result.vacuous] += 1
            return
        self.n += 1
        if result.failure:
            self.counterexamples.append(Counterexample(case, result))

    def compare_allowed(self, allow: float) -> Verdict:
        """Whether the whole interval lies below the share that is allowed, or above it."""
        share = self.interval
        held = share.high <= allow
        undecided = not held and share.low <= allow
        why = ": not shown, the interval crosses that" if undecided else ""
        text = f"{self.summary}, {_format_percent(allow)} allowed{why}"
        return Verdict(held, text, undecided=undecided)


def measure_rate(check: PropertyCheck, property: Property) -> ExceptionRate:
    """The rate on prompts of the evaluation split.

    They are so many that the share allowed can be shown, if the split has as many.
    """
    study = check.context.study
    n_needed = _PER_ALLOWED / property.allow if property.allow else 0
    prompts = _draw_prompts(study, int(min(_MOST_MEASURED, max(N_MEASURED, np.ceil(n_needed)))))
    rng, rate = np.random.default_rng([study.seed, _SEED]), ExceptionRate()
    for start in range(0, len(prompts), N_CASES):
        cases = [check.draw_case(rng, prompt) for prompt in prompts[start : start + N_CASES]]
        for case, result in zip(cases, run_check(check, property, cases), strict=True):
            rate.add_result(case, result)
    rate.counterexamples.sort(key=lambda one: (not one.result.error, len(one.case.prompt)))
    return rate


def _draw_prompts(study: Study, n: int) -> list[Prompt]:
    """``n`` prompts of the evaluation split, or as many as it has.

    What a file has is known. Of a grammar that has fewer a half, a quarter, ... of ``n`` is tried.
    """
    n = study.limit_prompts(n)
    while True:
        try:
            return study.prompts(n)
        except DataError:
            if n < 2:
                raise
            n //= 2


def _format_percent(share: float) -> str:
    return f"{100 * share:.3g} %"
