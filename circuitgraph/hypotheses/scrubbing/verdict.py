"""The verdict of a scrub in a line, and notes on what makes it say less than it seems to."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ClassesRecord, ComparedRecord

ZERO_POINT = "logits of random other prompts"


def judge_recovery(
    name: str,
    recovered: Interval,
    rivals: list[ComparedRecord],
    nulls: list[ComparedRecord],
    without_donors: Sequence[str] = (),
) -> tuple[bool, str]:
    """Whether a hypothesis comes nearer to the model than chance, its rivals and its nulls.

    Args:
        without_donors: variables that were hardly resampled, so that nothing is shown; see
            `list_undonored`.

    Returns:
        Whether the hypothesis holds, and the verdict in a line.
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
    if recovered.low <= 0 or recovered.high >= 2:
        return False, f"{line}: refuted, no nearer to the model than {ZERO_POINT}"
    as_good = [repr(one.name) for one in (*rivals, *nulls) if one.difference.low <= 0]
    if as_good:
        return False, f"{line}: refuted, no better than {' or '.join(as_good)}"
    if without_donors:
        return False, (
            f"{line}: not shown, most prompts have no donor but themselves for "
            f"{', '.join(without_donors)}: draw more prompts, or use coarser variables"
        )
    return True, f"{line}: not refuted"


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
