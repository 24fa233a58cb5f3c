"""How many prompts break a property: a share of the task's own prompts, with its interval."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.errors import DataError
from circuitgraph.evaluation.intervals import proportion
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import Case, Check, Finding, findings
from circuitgraph.hypotheses.properties.strategies import MOST
from circuitgraph.hypotheses.study import Study

N_MEASURED = 1000  # prompts on which a rate is measured, at least
_MOST_MEASURED = 10_000
_PER_ALLOWED = (
    8  # prompts for each one in so many that is allowed: with 4, none at all would not show it
)
_SEED = 6


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

    @property
    def shown(self) -> str:
        """The same in words."""
        share = self.interval
        bounds = f"[{_percent(share.low)}, {_percent(share.high)}]"
        return f"{_percent(share.mean)} of {self.n:,} prompts are exceptions {bounds}"

    @property
    def counted(self) -> list[tuple[str, int]]:
        """What was vacuous and why, and what is worth knowing."""
        return [*self.vacuous.items(), *self.notes.items()]

    def against(self, allow: float) -> tuple[bool, str]:
        """Whether the whole interval lies below the share that is allowed, and that in words."""
        share = self.interval
        held = share.high <= allow
        why = "" if held or share.low > allow else ": not shown, the interval crosses that"
        return held, f"{self.shown}, {_percent(allow)} allowed{why}"


def measure(check: Check, property: Property) -> Rate:
    """The rate on prompts of the evaluation split: on so many that the share allowed can be shown,
    if there are.
    """
    study = check.subject.study
    wanted = _PER_ALLOWED / property.allow if property.allow else 0
    prompts = _some(study, int(min(_MOST_MEASURED, max(N_MEASURED, np.ceil(wanted)))))
    rng, rate = np.random.default_rng([study.seed, _SEED]), Rate()
    for start in range(0, len(prompts), MOST):
        cases = [check.draw(rng, prompt) for prompt in prompts[start : start + MOST]]
        for case, finding in zip(cases, findings(check, property, cases), strict=True):
            rate.notes.update(case.notes)
            if finding.vacuous:
                rate.vacuous[finding.vacuous] += 1
                continue
            rate.n += 1
            if finding.failure:
                rate.caught.append(Caught(case, finding))
    rate.caught.sort(key=lambda caught: (not caught.finding.error, len(caught.case.prompt)))
    return rate


def _some(study: Study, n: int) -> list[Prompt]:
    """That many prompts of the evaluation split, or a half, a quarter, ... of it where there are
    fewer.
    """
    while True:
        try:
            return study.prompts(n)
        except DataError:
            if n < 2:
                raise
            n //= 2


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
