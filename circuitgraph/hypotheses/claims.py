"""Claims: what a hypothesis file says, one checkable thing at a time, each with a readable id.

Making the list loads neither jax nor torch; running a claim does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from circuitgraph.errors import CircuitGraphError, first_line
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.language import (
    Expectation,
    Hypothesis,
    Location,
    Property,
    ReadingClaim,
    Rival,
)

if TYPE_CHECKING:
    from circuitgraph.hypotheses.evidence import Evidence
    from circuitgraph.hypotheses.study import Study

Profile = Literal["dev", "ci", "hunt"]
PROMPTS: dict[Profile, int] = {"dev": 2000, "ci": 2000, "hunt": 10_000}
"""How many prompts a profile's statistics are taken on; ``dev`` shows the numbers of ``scrub``.

A file of pairs that has fewer gives all that it has.
"""


@dataclass(frozen=True)
class Untested(Verdict):
    """The verdict on a claim whose hypothesis cannot be tested as it is written."""

    @property
    def word(self) -> str:
        """``not tested``."""
        return "not tested"


@dataclass
class Context:
    """What the claims of one hypothesis share: model, prompts and measurements, each made once.

    Attributes:
        model: another model than the hypothesis's own.
        loading: keywords of `circuitgraph.load_model`.
        bar: show the progress of what takes long.
        seed: of the prompts and of all that is drawn.
        n_prompts: in place of the profile's number, and of the numbers that the file names.
    """

    hypothesis: Hypothesis
    profile: Profile = "dev"
    model: str | None = None
    seed: int = 0
    n_prompts: int | None = None
    loading: Mapping[str, Any] | None = None
    bar: bool = False
    _evidence: dict[int, Evidence] = field(default_factory=dict, repr=False)
    _refusal: Exception | None = field(default=None, repr=False)

    @cached_property
    def study(self) -> Study:
        """The hypothesis with its model and task, once nothing is wrong with how it is written."""
        # Imported here and below, so that listing claims loads neither jax nor torch.
        from circuitgraph.hypotheses.checking import open_checked

        if self._refusal is not None:
            raise self._refusal
        try:
            return open_checked(
                self.hypothesis, model=self.model, seed=self.seed, loading=self.loading
            )
        except Exception as error:
            self._refusal = error
            raise

    def gather_evidence(self, n: int | None = None) -> Evidence:
        """The evidence of ``n`` prompts; the user's number comes first, the profile's last.

        The profile's number is a file's own where a file has fewer.
        """
        from circuitgraph.hypotheses.evidence import Evidence

        n = self.n_prompts or n or self.study.limit_prompts(PROMPTS[self.profile])
        if n not in self._evidence:
            self._evidence[n] = Evidence(self.study, n, self.seed, self.bar)
        return self._evidence[n]

    def test_claim(self, claim: Claim) -> Verdict:
        """The verdict on one claim.

        Raises:
            CircuitGraphError: for the claim ``program``, all that is wrong with the hypothesis, or
                with its model or task; for another claim what hinders just that claim.
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
        kind: ``program``, ``expect``, ``scrub``, ``rival``, ``reading``, ``holds``, ``never`` or
            ``property``.
        location: the line of the file that makes the claim.
    """

    id: str
    kind: str
    location: Location
    judge: Callable[[Context], Verdict] = field(compare=False)


def list_claims(source: Hypothesis | Study) -> list[Claim]:
    """All that a hypothesis says and that can be checked, the harshest first.

    What is said of every prompt stands before what is compared with others, and that before means.
    """
    hypothesis = source if isinstance(source, Hypothesis) else source.hypothesis
    claims = [Claim("program", "program", hypothesis.location, _judge_program)]
    for prop in hypothesis.properties:
        kind = "property" if prop.function is None else prop.kind
        name = _make_id(kind, prop.name)
        claims.append(Claim(name, kind, prop.location, _PropertyJudge(prop)))
    for rival in hypothesis.rivals:
        name = _make_id("rival", rival.name)
        claims.append(Claim(name, "rival", rival.location, _RivalJudge(rival)))
    claims.append(Claim("scrub", "scrub", hypothesis.location, _judge_scrub))
    for expectation in hypothesis.expectations:
        name = _make_id("expect", expectation.name)
        claims.append(Claim(name, "expect", expectation.location, _ExpectationJudge(expectation)))
    for reading in hypothesis.readings:
        name = _make_id("reading", reading.name)
        claims.append(Claim(name, "reading", reading.location, _ReadingJudge(reading)))
    ids = number_repeats(claim.id for claim in claims)
    return [replace(claim, id=name) for name, claim in zip(ids, claims, strict=True)]


def make_slug(name: str) -> str:
    """A hypothesis's name as the beginning of an id."""
    return re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-") or "hypothesis"


def number_repeats(names: Iterable[str]) -> list[str]:
    """The same names, with a number behind each name that was there before."""
    counts: Counter[str] = Counter()
    numbered = []
    for name in names:
        counts[name] += 1
        numbered.append(name if counts[name] == 1 else f"{name} #{counts[name]}")
    return numbered


def _make_id(kind: str, name: str) -> str:
    return f"{kind}[{' '.join(name.split())}]"


def _judge_program(context: Context) -> Verdict:
    """The hypothesis can be tested as it is written, and its program gives the task's answers."""
    from circuitgraph.hypotheses.checking import check_study

    notes = check_study(context.study)
    summary = f"program: {len(context.hypothesis.variables)} variables that give the task's answers"
    if notes:
        summary += f", {len(notes)} notes"
    return Verdict(True, summary, _format_notes(notes))


def _judge_scrub(context: Context) -> Verdict:
    """The hypothesis survives causal scrubbing."""
    from circuitgraph.hypotheses.scrubbing.scrub import scrub_evidence

    record = scrub_evidence(context.gather_evidence())
    summary = f"{record.verdict}, {record.n} prompts"
    undecided = record.outcome == "not shown"
    return Verdict(record.held, summary, _format_notes(record.notes), undecided)


def _format_notes(notes: Iterable[object]) -> str:
    return "\n".join(f"note: {note}" for note in notes)


@dataclass(frozen=True)
class _ExpectationJudge:
    """An expected number is reached."""

    expectation: Expectation

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.expecting import judge_expectation

        return judge_expectation(context.gather_evidence(self.expectation.n), self.expectation)


@dataclass(frozen=True)
class _ReadingJudge:
    """An analysis shows what the file asserts of it."""

    claim: ReadingClaim

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.readings import judge_reading

        return judge_reading(context.study, self.claim)


@dataclass(frozen=True)
class _RivalJudge:
    """The hypothesis recovers more than a rival."""

    rival: Rival

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.scrubbing.scrub import scrub_evidence

        record = scrub_evidence(context.gather_evidence())
        rival = next(one for one in record.rivals if one.name == self.rival.name)
        lead = rival.difference
        summary = (
            f"rival {rival.name!r}: it recovers {rival.recovered.mean:.3f} of the loss, the "
            f"hypothesis {record.recovered.mean:.3f}, more by {lead.mean:.3f} [{lead.low:.3f}, "
            f"{lead.high:.3f}], {record.n} prompts"
        )
        if lead.low > 0:
            return Verdict(True, f"{summary}: held")
        if lead.high < 0:
            return Verdict(False, f"{summary}: refuted")
        why = "the interval does not tell them apart; more prompts may"
        return Verdict(False, f"{summary}: not shown, {why}", undecided=True)


@dataclass(frozen=True)
class _PropertyJudge:
    """No prompt breaks a property, beyond the share that it allows."""

    property: Property

    def __call__(self, context: Context) -> Verdict:
        from circuitgraph.hypotheses.properties.hunting import test_property

        return test_property(context.study, self.property, context.profile)
