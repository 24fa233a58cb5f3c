"""Every variable swapped, alone and in pairs, and resampled: what a program predicts of a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from circuitgraph.catalog.interchange_record import InterchangeRecord, NecessityRecord, SwapRecord
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.interventions.interchange import swap_variables
from circuitgraph.hypotheses.interventions.necessity import measure_necessity
from circuitgraph.progress import show_progress
from circuitgraph.tasks.describing import describe_environment, describe_model, describe_task

VariableNames = tuple[str, ...]


def run_interventions(evidence: Evidence) -> InterchangeRecord:
    """Swap each variable that has a site, and each pair of them; resample each, and all.

    Raises:
        HypothesisError: no variable has a site.
    """
    study, program = evidence.study, evidence.study.program
    names = [
        name for name in program.order if program.variables[name].sites and name != program.output
    ]
    if not names:
        raise HypothesisError(
            f"{study.hypothesis.name!r} has no variable with a site: give one at=."
        )
    to_swap: list[VariableNames] = [(name,) for name in names] + list(combinations(names, 2))
    carried = {node.variable for node in study.tree().walk()}
    to_resample: list[VariableNames] = [(), *((name,) for name in names if name in carried)]
    total = len(to_swap) + len(to_resample)
    swaps, necessities = [], []
    with show_progress(
        total, "interventions", "intervention", bar=evidence.bar, leave=False
    ) as progress:
        for variables in to_swap:
            swaps.append(_record_swap(evidence, variables))
            progress.advance()
        for variables in to_resample:
            necessity = measure_necessity(evidence, variables, evidence.seed)
            necessities.append(NecessityRecord(variables=list(variables), necessity=necessity))
            progress.advance()
    return InterchangeRecord(
        hypothesis=study.hypothesis.name,
        model=describe_model(study.model),
        task=describe_task(study.task, evidence.batch.tokens, "evaluation"),
        environment=describe_environment(study.model),
        metric=evidence.metric,
        seed=evidence.seed,
        n=len(evidence.batch),
        swaps=swaps,
        necessity=necessities,
    )


def _record_swap(evidence: Evidence, variables: Sequence[str]) -> SwapRecord:
    """One swap; of variables without donors of another value only that there are none is known."""
    try:
        interchange = swap_variables(evidence, variables, evidence.seed)
    except HypothesisError:
        nothing = {"accuracy": None, "accuracy_changed": None, "failures": []}
        return SwapRecord(
            variables=list(variables), n_prompts=0, n_defined=0, n_changed=0, **nothing
        )
    return SwapRecord(
        variables=list(variables),
        n_prompts=interchange.n_prompts,
        n_defined=interchange.n_defined,
        n_changed=interchange.n_changed,
        accuracy=interchange.accuracy,
        accuracy_changed=interchange.accuracy_changed,
        failures=[str(failure) for failure in interchange.failures],
    )
