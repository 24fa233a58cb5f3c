"""What a user should know of a circuit in one line: that it overshoots, that edges were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuitgraph.cli.tables import format_mean

if TYPE_CHECKING:
    from circuitgraph.catalog.records import (
        AlgorithmRecord,
        CurvePoint,
        EvaluationRecord,
        RefinementRecord,
    )

# As far above the whole model as a circuit that is called 95 % faithful lies below it.
OVERSHOOT = 1.05


def overshoots(evaluation: EvaluationRecord) -> bool:
    """Whether a circuit clearly does more than the whole model: the whole interval is above 1."""
    faithfulness = evaluation.faithfulness
    return faithfulness is not None and faithfulness.mean > OVERSHOOT and faithfulness.low > 1


def describe_overshoot(evaluation: EvaluationRecord) -> str | None:
    """The line about a circuit that does more than the whole model; None if it does not."""
    if not overshoots(evaluation):
        return None
    return (
        f"This circuit overshoots: its {evaluation.metric} is {evaluation.circuit.mean:.3f}, the "
        f"whole model's {evaluation.full.mean:.3f} (faithfulness "
        f"{format_mean(evaluation.faithfulness)}). What holds the answer back in the model is "
        "missing from it."
    )


def describe_curve_overshoot(points: Sequence[CurvePoint]) -> str | None:
    """The line about the thresholds whose circuits overshoot; None if no circuit does."""
    thresholds = [str(point.threshold) for point in points if overshoots(point.evaluation)]
    if not thresholds:
        return None
    return (
        f"Circuits that overshoot (they do more than the whole model): at {', '.join(thresholds)}."
    )


def describe_dropped(algorithm: AlgorithmRecord | None, n_edges: int) -> str | None:
    """Why a circuit has fewer edges than were selected; None if it has them all.

    Args:
        n_edges: of the circuit.
    """
    n_selected = None if algorithm is None else algorithm.n_selected
    if n_selected is None or n_selected <= n_edges:
        return None
    return (
        f"{n_selected} edges were selected; {n_selected - n_edges} of them lie on no path from "
        "embed to logits and were dropped (--selection greedy selects connected edges, --set "
        "prune=false keeps all)"
    )


def describe_rests(refinement: RefinementRecord) -> str:
    """What neurons or features that are no nodes do in a circuit of such units."""
    if not refinement.rests:
        return "No rest of an MLP is in the circuit: all that it needs of MLPs are these units."
    effects = ", ".join(f"{name} {effect:.3g}" for name, effect in refinement.rests.items())
    return (
        f"What the loss rises by without what is no node of its own: {effects}. More units become "
        "nodes with --units, or --refine m3:all."
    )
