"""Every variable of a hypothesis swapped, alone and in pairs, and resampled: what its program
predicts of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from tqdm import tqdm

from circuitgraph.api import environment, model_record, task_record
from circuitgraph.catalog.interchange_record import InterchangeRecord, NecessityRecord, SwapRecord
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.interventions.interchange import interchange
from circuitgraph.hypotheses.interventions.necessity import necessity

Names = tuple[str, ...]


def intervene(evidence: Evidence) -> InterchangeRecord:
    """Swap each variable that has a site, and each pair of them; resample each, and all.

    Raises:
        HypothesisError: no variable has a site.
    """
    program = evidence.study.program
    names = [
        name for name in program.order if program.variables[name].sites and name != program.output
    ]
    if not names:
        raise HypothesisError(
            f"{evidence.study.hypothesis.name!r} has no variable with a site: give one at=."
        )
    swapped: list[Names] = [(name,) for name in names] + list(combinations(names, 2))
    carried = {node.variable for node in evidence.study.tree().walk()}
    resampled: list[Names] = [(), *((name,) for name in names if name in carried)]
    total = len(swapped) + len(resampled)
    with tqdm(total=total, desc="interventions", disable=not evidence.bar, leave=False) as shown:
        swaps, needs = [], []
        for variables in swapped:
            swaps.append(_swap(evidence, variables))
            shown.update()
        for variables in resampled:
            found = necessity(evidence, variables, evidence.seed)
            needs.append(NecessityRecord(variables=list(variables), necessity=found))
            shown.update()
    study = evidence.study
    return InterchangeRecord(
        hypothesis=study.hypothesis.name,
        model=model_record(study.model),
        task=task_record(study.task, evidence.batch.tokens, "evaluation"),
        environment=environment(study.model.dtype),
        metric=evidence.metric,
        seed=evidence.seed,
        n=len(evidence.batch),
        swaps=swaps,
        necessity=needs,
    )


def _swap(evidence: Evidence, variables: Sequence[str]) -> SwapRecord:
    """One swap; of variables without donors of another value only the number of these is known,
    which is 0.
    """
    try:
        found = interchange(evidence, variables, evidence.seed)
    except HypothesisError:
        nothing = {"accuracy": None, "accuracy_changed": None, "failures": []}
        return SwapRecord(
            variables=list(variables), n_prompts=0, n_defined=0, n_changed=0, **nothing
        )
    return SwapRecord(
        variables=list(variables),
        n_prompts=found.n_prompts,
        n_defined=found.n_defined,
        n_changed=found.n_changed,
        accuracy=found.accuracy,
        accuracy_changed=found.accuracy_changed,
        failures=[str(failure) for failure in found.failures],
    )
