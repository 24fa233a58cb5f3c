"""The verdict of a scrub in a line, and notes on what makes it say less than it seems to."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ClassesRecord, ComparedRecord
from circuitgraph.hypotheses.diagnostics import Verdict

ZERO_POINT = "logits of random other prompts"
_UNBOUNDED = (
    "but the file expects no share of the loss, so that any passes that rivals and nulls do not "
    'reach: H.expect("loss_recovered", at_least=...)'
)


def judge_recovery(
    name: str,
    recovered: Interval,
    rivals: list[ComparedRecord],
    nulls: list[ComparedRecord],
    without_donors: Sequence[str] = (),
    *,
    is_bounded: bool = True,
) -> Verdict:
    """Whether a hypothesis comes nearer to the model than chance, its rivals and its nulls.

    It is refuted if one of these comes nearer with 95 % confidence. Nothing is shown if an interval
    tells neither way: then the verdict does not depend on which side the means happen to lie.

    Args:
        without_donors: variables that were hardly resampled, so that nothing is shown; see
            `list_undonored`.
        is_bounded: whether the file says how much of the loss it expects; without that a pass says
            no more than that rivals and nulls do worse, and the verdict says so.
    """
    mean, low, high = map(_format_hundredths, (recovered.mean, recovered.low, recovered.high))
    line = f"{name}: {mean} of the loss recovered [{low}, {high}]"
    bests = [
        _describe_best(kind, compared)
        for kind, compared in (("rival", rivals), ("null", nulls))
        if compared
    ]
    if bests:
        line += f"; {', '.join(bests)}"
    others = (*rivals, *nulls)
    worse_than = [repr(one.name) for one in others if one.difference.high < 0]
    if recovered.high < 0 or recovered.low > 2:
        worse_than = [ZERO_POINT, *worse_than]
    if worse_than:
        return Verdict(False, f"{line}: refuted, further from the model than {_join(worse_than)}")
    doubts = _list_doubts(recovered, others, without_donors)
    if doubts:
        return Verdict(False, f"{line}: not shown, {'; '.join(doubts)}", undecided=True)
    if is_bounded:
        return Verdict(True, f"{line}: not refuted")
    return Verdict(True, f"{line}: not refuted, {_UNBOUNDED}")


def _list_doubts(
    recovered: Interval, others: Sequence[ComparedRecord], without_donors: Sequence[str]
) -> list[str]:
    """Why a hypothesis that is not refuted is not shown either, in words."""
    alike = [repr(one.name) for one in others if one.difference.low <= 0]
    if recovered.low <= 0 or recovered.high >= 2:
        alike = [ZERO_POINT, *alike]
    doubts = []
    if alike:
        doubts = [
            f"the interval does not tell it from {_join(alike)}; if they differ, more prompts may"
        ]
    if without_donors:
        doubts.append(
            "most prompts have no donor but themselves for "
            f"{', '.join(without_donors)}: draw more prompts, or use coarser variables"
        )
    return doubts


def _join(names: Sequence[str]) -> str:
    return " or ".join(names)


def _describe_best(kind: str, compared: list[ComparedRecord]) -> str:
    best = min(compared, key=lambda one: abs(1 - one.recovered.mean))
    return f"best {kind} {_format_hundredths(best.recovered.mean)} ({best.name!r})"


def _format_hundredths(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no "-0.00"


def list_undonored(classes: list[ClassesRecord]) -> list[str]:
    """Variables for which most prompts are their only donors: claims that can hardly fail."""
    return [c.variable for c in classes if 2 * c.singletons > c.mean * c.n_classes]


def write_notes(classes: list[ClassesRecord], recovered: Interval, changed: float) -> list[str]:
    """What makes a share of the loss recovered say less than it seems to.

    Args:
        changed: how much prompts' losses change on average, as a share of the loss to recover.
    """
    notes = []
    singletons = [f"{c.singletons} ({c.variable})" for c in classes if c.singletons]
    if singletons:
        notes.append(
            "prompts that share their value with no other, and can only be their own donors: "
            + ", ".join(singletons)
        )
    if recovered.low > 1.01:
        notes.append(
            f"{recovered.mean:.0%} of the loss recovered is more than there is: what works against "
            "the behaviour in the model was resampled away, so the hypothesis leaves it out"
        )
    lost = abs(1 - recovered.mean)
    if changed > max(0.1, 2 * lost):
        notes.append(
            f"prompts change by {changed:.0%} of the loss to recover, their mean by {lost:.0%} "
            "only: what helps some hides what harms others"
        )
    return notes
