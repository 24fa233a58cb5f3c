"""What a scrub's record says of variables and nodes: class sizes, splits by class, what each node
was given.
"""

from __future__ import annotations

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ClassesRecord, NodeRecord, SplitRecord
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.program import format_value
from circuitgraph.hypotheses.scrubbing.losses import Losses
from circuitgraph.hypotheses.scrubbing.sampling import Donors, Sampler
from circuitgraph.hypotheses.scrubbing.trials import MODEL, RANDOM_PROMPTS, SCRUBBED

_FEW = 8  # classes of a variable that is split by
_ALIKE = 1e-9  # of the larger loss: a difference below is none


def classes_of(root: TreeNode, sampler: Sampler) -> list[ClassesRecord]:
    """The class sizes of every variable that donors must agree on."""
    records = []
    for variable in dict.fromkeys(node.variable for node in root.walk() if node.path != root.path):
        found = sampler.classes(variable)
        records.append(
            ClassesRecord(
                variable=variable,
                n_classes=len(found.sizes),
                smallest=int(found.sizes.min()),
                mean=float(found.sizes.mean()),
                singletons=found.singletons,
                effective_donors=found.effective_donors,
            )
        )
    return records


def splits_of(evidence: Evidence, losses: Losses) -> list[SplitRecord]:
    """The loss recovered on each class of every variable that has few."""
    program, prompts = evidence.study.program, evidence.batch.prompts
    records = []
    own = Losses({key: losses.of[key] for key in (MODEL, RANDOM_PROMPTS, SCRUBBED)}, losses.seed)
    for variable in program.order:
        codes = evidence.codes[variable]
        found, first, sizes = np.unique(codes, return_index=True, return_counts=True)
        if not 2 <= len(found) <= _FEW:
            continue
        for code, at, size in zip(found, first, sizes, strict=True):
            value = program.compute_values(prompts[at])[variable]
            recovered = _recovered(own.within(codes == code)) if size > 1 else None
            records.append(
                SplitRecord(
                    variable=variable, value=format_value(value), n=int(size), recovered=recovered
                )
            )
    return records


def nodes_of(
    evidence: Evidence, root: TreeNode, donors: Donors, losses: Losses
) -> list[NodeRecord]:
    """Every node, with what it was given for the one reference whose donors are the most telling."""
    prompts, program, telling = (
        evidence.batch.prompts,
        evidence.study.program,
        _telling(root, donors),
    )
    records = []
    for node in root.walk():
        donor = prompts[donors.datum[node.path][telling]]
        others = donors.inputs[node.path] if node.children else None
        records.append(
            NodeRecord(
                path=list(node.path),
                variable=node.variable,
                site=str(node.site),
                feeds=node.feeds,
                role=program.variables[node.variable].role,
                alone=losses.recovered(("alone", *node.path)),
                all_but=losses.recovered(("all but", *node.path)),
                donor=donor.text,
                value=format_value(program.compute_values(donor)[node.variable]),
                others=prompts[others[telling]].text if isinstance(others, np.ndarray) else None,
            )
        )
    return records


def _telling(root: TreeNode, donors: Donors) -> int:
    """The first of the references for which the fewest nodes got the same prompt."""
    drawn = np.sort(np.stack([donors.datum[node.path] for node in root.walk()]), axis=0)
    return int((np.diff(drawn, axis=0) != 0).sum(axis=0).argmax())


def _recovered(losses: Losses) -> Interval | None:
    model, nothing = losses.mean(MODEL).mean, losses.mean(RANDOM_PROMPTS).mean
    return (
        losses.recovered(SCRUBBED)
        if abs(nothing - model) > _ALIKE * max(abs(nothing), abs(model))
        else None
    )
