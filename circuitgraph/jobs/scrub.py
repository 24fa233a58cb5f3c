"""Scrubbing from end to end: a hypothesis is checked, scrubbed, and held against what it says."""

from __future__ import annotations

from dataclasses import dataclass

from circuitgraph.catalog.scrub_record import CostRecord, ScrubRecord
from circuitgraph.errors import check_at_least
from circuitgraph.hypotheses.checking import check_study
from circuitgraph.hypotheses.diagnostics import Diagnostic, Verdict
from circuitgraph.hypotheses.evidence import Evidence, choose_count
from circuitgraph.hypotheses.expecting import judge_expectation
from circuitgraph.hypotheses.language import Align, Unclaimed
from circuitgraph.hypotheses.scrubbing.prepared import prepare_scrub
from circuitgraph.hypotheses.scrubbing.scrub import override_settings, scrub_evidence
from circuitgraph.hypotheses.study import Study


def scrub(
    study: Study,
    *,
    n: int | None = None,
    seed: int = 0,
    metric: str | None = None,
    unclaimed: Unclaimed | None = None,
    align: Align | None = None,
    bar: bool = False,
    memory: int | None = None,
) -> ScrubRecord:
    """Scrub a hypothesis on prompts that nobody has looked at while writing it.

    As ``circuitgraph scrub`` does, its check included.

    Args:
        n: how many prompts: each is a reference, and all of them together are the pool of donors.
            If None, 2,000, or all that a file of pairs has.
        seed: of the donors; the study has that of the prompts.
        metric, unclaimed, align: the hypothesis's own if None.
        bar: show progress.
        memory: limit in bytes of the activations that are kept.

    Raises:
        HypothesisError: the hypothesis cannot be tested as it is written, with file and line of
            every problem; a variable has no two prompts of one value; or the model does no better
            than chance.
        CircuitGraphError: an unknown name, fewer prompts than asked for, or too little memory.
    """
    if n is not None:
        check_at_least("n", n, 2)
    changed = override_settings(study, metric, unclaimed, align)
    return check_scrub(changed, n=n, seed=seed, bar=bar, memory=memory).run()


@dataclass(frozen=True)
class CheckedScrub:
    """A hypothesis that can be tested as it is written, with the evidence to scrub it on.

    Attributes:
        notes: what the check says is worth knowing.
    """

    evidence: Evidence
    notes: list[Diagnostic]

    @property
    def cost(self) -> CostRecord:
        """What the run takes, known before it."""
        return prepare_scrub(self.evidence).cost

    def run(self) -> ScrubRecord:
        """Scrub; errors as of `scrub`."""
        return scrub_evidence(self.evidence)

    def judge_expectations(self) -> list[Verdict]:
        """Whether the loss recovered is as much as the file expects."""
        expectations = self.evidence.study.hypothesis.expectations
        expected = [each for each in expectations if each.quantity == "loss_recovered"]
        return [judge_expectation(self.evidence, each) for each in expected]


def check_scrub(
    study: Study,
    *,
    n: int | None = None,
    seed: int = 0,
    bar: bool = False,
    memory: int | None = None,
) -> CheckedScrub:
    """Check a hypothesis, and make ready to scrub it; arguments as of `scrub`.

    Raises:
        HypothesisError: with file and line of every problem.
        ArgumentError: fewer than two prompts.
    """
    notes = check_study(study)
    n = check_at_least("n", choose_count(study, n), 2)
    return CheckedScrub(Evidence(study, n, seed, bar, memory), notes)
