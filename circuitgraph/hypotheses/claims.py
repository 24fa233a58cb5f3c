"""Claims: what a hypothesis file says, one checkable thing at a time, each with an id that a person
can read.

Making the list loads neither jax nor torch; running a claim does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from circuitgraph.errors import CircuitGraphError, first_line
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.language import Expectation, Hypothesis, Location, Property, Rival

if TYPE_CHECKING:
    from circuitgraph.hypotheses.evidence import Evidence
    from circuitgraph.hypotheses.study import Study

Profile = Literal["dev", "ci", "hunt"]
PROMPTS: dict[Profile, int] = {"dev": 2000, "ci": 2000, "hunt": 10_000}
"""How many prompts the statistics of each profile are taken on; ``dev`` shows the numbers that
``scrub`` shows.
"""


@dataclass(frozen=True)
class Untested(Verdict):
    """What is said of a claim whose hypothesis cannot be tested as it is written."""


@dataclass
class Context:
    """What the claims of one hypothesis share: the model, the prompts and what is measured on them,
    each made once.

    Attributes:
        model: another model than the hypothesis's own.
        seed: of the prompts and of all that is drawn.
        n_prompts: in place of the profile's number, and of the numbers that the file names.
    """

    hypothesis: Hypothesis
    profile: Profile = "dev"
    model: str | None = None
    seed: int = 0
    n_prompts: int | None = None
    _measured: dict[int, Evidence] = field(default_factory=dict, repr=False)
    _unusable: Exception | None = field(default=None, repr=False)

    @cached_property
    def study(self) -> Study:
        """The hypothesis with its model and task, once nothing is wrong with how it is written."""
        from circuitgraph.hypotheses.checking import open_checked

        if self._unusable is not None:
            raise self._unusable
        try:
            return open_checked(self.hypothesis, model=self.model, seed=self.seed)
        except Exception as error:
            self._unusable = error
            raise

    def evidence(self, n: int | None = None) -> Evidence:
        """What is measured on ``n`` prompts, if neither the profile nor the user wants another
        number.
        """
        from circuitgraph.hypotheses.evidence import Evidence

        n = self.n_prompts or n or PROMPTS[self.profile]
        if n not in self._measured:
            self._measured[n] = Evidence(self.study, n, self.seed)
        return self._measured[n]

    def test(self, claim: Claim) -> Verdict:
        """The verdict on one claim.

        Raises:
            CircuitGraphError: for the claim ``program``, all that is wrong with the hypothesis, or
                with its model or task; for others what hinders just them.
        """
        if claim.kind != "program":
            try:
                _ = self.study
            except CircuitGraphError as error:
                return Untested(False, f"not tested: {first_line(error)}")
        return claim.judge(self)


@dataclass(frozen=True)
class Claim:
    """One checkable thing.

    Attributes:
        id: readable, unique in its hypothesis and always the same, such as ``rival[no
            previous-token head]``.
        kind: ``program``, ``expect``, ``scrub``, ``rival``, ``holds``, ``never`` or ``property``.
        location: the line of the file that makes it.
    """

    id: str
    kind: str
    location: Location
    judge: Callable[[Context], Verdict] = field(compare=False)

    def run(self, context: Context) -> Verdict:
        """The verdict, with what other claims have already loaded and measured."""
        return context.test(self)


def claims(about: Hypothesis | Study) -> list[Claim]:
    """All that a hypothesis says and that can be checked, in the order in which it is best read."""
    hypothesis = about if isinstance(about, Hypothesis) else about.hypothesis
    found = [Claim("program", "program", hypothesis.location, _sound)]
    found += [
        Claim(_id("expect", e.name), "expect", e.location, _Expected(e))
        for e in hypothesis.expectations
    ]
    found.append(Claim("scrub", "scrub", hypothesis.location, _scrubbed))
    found += [
        Claim(_id("rival", r.name), "rival", r.location, _Beaten(r)) for r in hypothesis.rivals
    ]
    for prop in hypothesis.properties:
        kind = "property" if prop.function is None else prop.kind
        found.append(Claim(_id(kind, prop.name), kind, prop.location, _Hunted(prop)))
    ids = numbered(claim.id for claim in found)
    return [
        Claim(name, claim.kind, claim.location, claim.judge)
        for name, claim in zip(ids, found, strict=True)
    ]


def slug(name: str) -> str:
    """A hypothesis's name as the beginning of an id."""
    return re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-") or "hypothesis"


def numbered(names: Iterable[str]) -> list[str]:
    """The same names, with a number behind what was there before."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found


def _id(kind: str, name: str) -> str:
    return f"{kind}[{' '.join(name.split())}]"


@dataclass(frozen=True)
class _Expected:
    """An expected number is reached."""

    expectation: Expectation

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.expecting import judge

        return judge(context.evidence(self.expectation.n), self.expectation)


def _sound(context: Context) -> Verdict:
    """The hypothesis can be tested as it is written, and its program gives the task's answers."""
    from circuitgraph.hypotheses.checking import check

    notes = check(context.study)
    counted = f"{len(context.hypothesis.variables)} variables that give the task's answers"
    return Verdict(
        True,
        f"program: {counted}, {len(notes)} notes" if notes else f"program: {counted}",
        _lines(notes),
    )


def _scrubbed(context: Context) -> Verdict:
    """The hypothesis survives causal scrubbing."""
    from circuitgraph.hypotheses.scrubbing.scrub import scrubbed

    record = scrubbed(context.evidence())
    return Verdict(record.held, f"{record.verdict}, {record.n} prompts", _lines(record.notes))


@dataclass(frozen=True)
class _Beaten:
    """The hypothesis recovers more than a rival."""

    rival: Rival

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.scrubbing.scrub import scrubbed

        record = scrubbed(context.evidence())
        found = next(one for one in record.rivals if one.name == self.rival.name)
        more, held = found.difference, found.difference.low > 0
        recovered = f"it recovers {found.recovered.mean:.3f} of the loss, the hypothesis {record.recovered.mean:.3f}"
        by = f"more by {more.mean:.3f} [{more.low:.3f}, {more.high:.3f}], {record.n} prompts"
        return Verdict(
            held, f"rival {found.name!r}: {recovered}, {by}: {'held' if held else 'refuted'}"
        )


def _lines(notes: Iterable[object]) -> str:
    return "\n".join(f"note: {note}" for note in notes)


@dataclass(frozen=True)
class _Hunted:
    """No prompt breaks a property, beyond the share that it allows."""

    property: Property

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.properties.hunting import test_property

        return test_property(context.study, self.property, context.profile)
