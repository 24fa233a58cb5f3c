"""All measures of a circuit by their names, and which of them a judgement takes."""

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
from circuitgraph.evaluation.size_curve import measure_size_curve
from circuitgraph.evaluation.stability import measure_stability
from circuitgraph.evaluation.truth import compare_with_truth
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.prompts import Prompts

ALWAYS = "faithfulness"
MEASURES = (ALWAYS, "completeness", "minimality", "curve", "truth", "stability")
SETS = ("quick", "all")

# Of parameters x tokens x masks: a minute or two on two CPU cores. "quick" takes no more.
QUICK = 5 * 10**12


@dataclass(frozen=True)
class Known:
    """What is known of a circuit beside its edges; a field that is None rules a measure out.

    Attributes:
        scores: scores of all edges, for the size curve and ROC AUC.
        true: the true circuit.
        discover: the search that found the circuit, to be run on other prompts.
        prompts: the prompts that this search saw.
        prune: whether the size curve's circuits lose edges on no path (`measure_size_curve`).
    """

    scores: Float[np.ndarray, " edges"] | None = None
    true: Circuit | None = None
    discover: Callable[[Prompts], Circuit] | None = None
    prompts: Prompts | None = None
    prune: bool = True

    def list_missing(self) -> dict[str, str]:
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


def check_measures(names: Sequence[str]) -> None:
    """Raise `UnknownNameError` unless each name is one of `MEASURES` or `SETS`."""
    for name in names:
        if name not in (*MEASURES, *SETS):
            raise unknown_name("measure", name, (*MEASURES, *SETS))


def choose_measures(
    names: Sequence[str], known: Known, circuit: Circuit, cost: int
) -> tuple[str, ...]:
    """The measures to take.

    Args:
        names: names of `MEASURES`; ``all`` stands for all that are not ruled out, ``quick`` for
            those of completeness and minimality, if they take about a minute or two on two cores.
        cost: cost of one mask: parameters x tokens.

    Raises:
        UnknownNameError: no measure of that name.
        ArgumentError: measures that are ruled out, with the reasons.
    """
    check_measures(names)
    missing, wanted = known.list_missing(), set(names)
    if problems := [f"{name}: {reason}" for name, reason in missing.items() if name in wanted]:
        raise ArgumentError(list_problems("These measures cannot be taken:", problems))
    masks = {
        "completeness": completeness.count_masks(circuit),
        "minimality": minimality.count_masks(circuit),
    }
    if "quick" in names and sum(masks.values()) * cost <= QUICK:
        wanted |= masks.keys()
    if "all" in names:
        wanted |= set(MEASURES) - missing.keys()
    return tuple(name for name in MEASURES if name in wanted or name == ALWAYS)


def take_measures(
    names: Collection[str],
    experiment: Experiment,
    circuit: Circuit,
    known: Known,
    *,
    seed: int,
    bar: bool = False,
) -> dict[str, Record]:
    """The records of the named measures, faithfulness left out."""
    records: dict[str, Record] = {}
    common: dict[str, Any] = {"seed": seed, "bar": bar}
    if "completeness" in names:
        records["completeness"] = completeness.measure_completeness(experiment, circuit, **common)
    if "minimality" in names:
        records["minimality"] = minimality.measure_minimality(experiment, circuit, **common)
    if "curve" in names and known.scores is not None:
        records["curve"] = measure_size_curve(experiment, known.scores, prune=known.prune, **common)
    if "truth" in names and known.true is not None:
        records["truth"] = compare_with_truth(circuit, known.true, known.scores)
    if "stability" in names and known.discover is not None and known.prompts is not None:
        records["stability"] = measure_stability(known.discover, known.prompts, **common)
    return records
