"""All measures by their names, and which of them a judgement takes if nothing is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from circuitgraph.catalog.records import Record
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, list_problems, unknown_name
from circuitgraph.evaluation import completeness, minimality
from circuitgraph.evaluation.curve import size_curve
from circuitgraph.evaluation.stability import stability
from circuitgraph.evaluation.truth import truth
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.base import Prompts

ALWAYS = "faithfulness"
MEASURES = (ALWAYS, "completeness", "minimality", "curve", "truth", "stability")
SETS = ("quick", "all")

QUICK = 5 * 10**12  # parameters x tokens x masks: a minute or two of two CPU cores


@dataclass(frozen=True)
class Known:
    """What is known of a circuit beside its edges; what is None rules a measure out.

    Attributes:
        scores: of all edges, for the curve and ROC AUC.
        true: the true circuit.
        discover: the search that found it, to be run on other prompts, and ``prompts``, those that
            it saw.
    """

    scores: Float[np.ndarray, " edges"] | None = None
    true: Circuit | None = None
    discover: Callable[[Prompts], Circuit] | None = None
    prompts: Prompts | None = None

    def lacking(self) -> dict[str, str]:
        """The measures that are ruled out, and why."""
        reasons: dict[str, str] = {}
        if self.scores is None:
            reasons["curve"] = "the circuit has no scores to rank edges by"
        if self.true is None:
            reasons["truth"] = "no true circuit was given"
        if self.discover is None or self.prompts is None:
            reasons["stability"] = (
                "the circuit does not say by what search on what prompts it was found"
            )
        return reasons


def check_measures(asked: Sequence[str]) -> None:
    """Raise `UnknownNameError` unless each of them is one of `MEASURES` or `SETS`."""
    for name in asked:
        if name not in (*MEASURES, *SETS):
            raise unknown_name("measure", name, (*MEASURES, *SETS))


def chosen(asked: Sequence[str], known: Known, circuit: Circuit, cost: int) -> tuple[str, ...]:
    """The measures to take.

    Args:
        asked: names of `MEASURES`; ``all`` stands for all that are not ruled out, ``quick`` for
            those of completeness and minimality, if they take about a minute or two on two cores.
        cost: of one mask: parameters x tokens.

    Raises:
        UnknownNameError: no measure of that name.
        ArgumentError: measures that are ruled out, with the reasons.
    """
    check_measures(asked)
    lacking, wanted = known.lacking(), set(asked)
    if problems := [f"{name}: {reason}" for name, reason in lacking.items() if name in wanted]:
        raise ArgumentError(list_problems("These measures cannot be taken:", problems))
    masks = {
        "completeness": completeness.n_masks(circuit),
        "minimality": minimality.n_masks(circuit),
    }
    if "quick" in asked and sum(masks.values()) * cost <= QUICK:
        wanted |= masks.keys()
    if "all" in asked:
        wanted |= set(MEASURES) - lacking.keys()
    return tuple(name for name in MEASURES if name in wanted or name == ALWAYS)


def measured(
    names: Collection[str],
    experiment: Experiment,
    circuit: Circuit,
    known: Known,
    *,
    seed: int,
    bar: bool = False,
) -> dict[str, Record]:
    """The records of those measures, faithfulness left out."""
    found: dict[str, Record] = {}
    common: dict[str, Any] = {"seed": seed, "bar": bar}
    if "completeness" in names:
        found["completeness"] = completeness.completeness(experiment, circuit, **common)
    if "minimality" in names:
        found["minimality"] = minimality.minimality(experiment, circuit, **common)
    if "curve" in names and known.scores is not None:
        found["curve"] = size_curve(experiment, known.scores, **common)
    if "truth" in names and known.true is not None:
        found["truth"] = truth(circuit, known.true, known.scores)
    if "stability" in names and known.discover is not None and known.prompts is not None:
        found["stability"] = stability(known.discover, known.prompts, **common)
    return found
