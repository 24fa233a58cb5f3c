"""What a scrub's record says of each variable and of each node of the tree."""

from __future__ import annotations

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import (
    ClassesRecord,
    HarshestRecord,
    NodeRecord,
    SplitRecord,
)
from circuitgraph.evaluation.intervals import estimate_mean
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.program import format_value
from circuitgraph.hypotheses.scrubbing.losses import Losses, average_worst_tenth
from circuitgraph.hypotheses.scrubbing.sampling import Sampler, TreeDonors
from circuitgraph.hypotheses.scrubbing.trials import MODEL, RANDOM_PROMPTS, SCRUBBED

_MOST_CLASSES = 8  # losses are split by a variable that has no more classes
_ROUNDING = 1e-9  # of the larger loss: a smaller difference is none


def record_classes(root: TreeNode, sampler: Sampler) -> list[ClassesRecord]:
    """The class sizes of every variable that donors must agree on."""
    records = []
    for variable in dict.fromkeys(node.variable for node in root.walk() if node.path != root.path):
        classes = sampler.classify_pool(variable)
        records.append(
            ClassesRecord(
                variable=variable,
                n_classes=len(classes.sizes),
                smallest=int(classes.sizes.min()),
                mean=float(classes.sizes.mean()),
                singletons=classes.n_singletons,
                effective_donors=classes.effective_donors,
            )
        )
    return records


def record_splits(evidence: Evidence, losses: Losses) -> list[SplitRecord]:
    """The loss recovered on each class of every variable that has few classes."""
    program, prompts = evidence.study.program, evidence.batch.prompts
    ends = {key: losses.by_trial[key] for key in (MODEL, RANDOM_PROMPTS, SCRUBBED)}
    own_losses = Losses(ends, losses.seed)
    records = []
    for variable in program.order:
        codes = evidence.codes[variable]
        classes, firsts, sizes = np.unique(codes, return_index=True, return_counts=True)
        if not 2 <= len(classes) <= _MOST_CLASSES:
            continue
        for code, first, size in zip(classes, firsts, sizes, strict=True):
            value = format_value(program.compute_values(prompts[first])[variable])
            some_losses = own_losses.select_prompts(codes == code)
            recovered = _recover_if_apart(some_losses) if size > 1 else None
            records.append(
                SplitRecord(variable=variable, value=value, n=int(size), recovered=recovered)
            )
    return records


def record_nodes(
    evidence: Evidence, root: TreeNode, donors: TreeDonors, losses: Losses
) -> list[NodeRecord]:
    """Every node, with the prompts it was given for the reference with the most telling donors."""
    prompts, program = evidence.batch.prompts, evidence.study.program
    reference = _find_telling_reference(root, donors)
    records = []
    for node in root.walk():
        donor = prompts[donors.datum[node.path][reference]]
        others = donors.inputs[node.path] if node.children else None
        records.append(
            NodeRecord(
                path=list(node.path),
                variable=node.variable,
                site=str(node.site),
                feeds=node.feeds,
                role=program.variables[node.variable].role,
                alone=losses.loss_recovered(("alone", *node.path)),
                all_but=losses.loss_recovered(("all but", *node.path)),
                donor=donor.text,
                value=format_value(program.compute_values(donor)[node.variable]),
                others=prompts[others[reference]].text if isinstance(others, np.ndarray) else None,
            )
        )
    return records


def record_harshest(evidence: Evidence, root: TreeNode, losses: Losses) -> HarshestRecord:
    """The node below the root whose worst tenth of prompts moves most when it alone is resampled.

    A mean of losses may hardly move where some prompts lose what others gain.
    """
    changes = {
        node: np.abs(losses.by_trial["alone", *node.path] - losses.by_trial[MODEL])
        for node in root.walk()
        if node.path != root.path
    }
    tenth = max(1, len(losses.by_trial[MODEL]) // 10)
    node = max(changes, key=lambda one: np.sort(changes[one])[-tenth:].mean())
    return HarshestRecord(
        path=list(node.path),
        variable=node.variable,
        site=str(node.site),
        deviation=estimate_mean(changes[node], losses.seed),
        worst_decile=average_worst_tenth(changes[node], losses.seed),
        largest=float(changes[node].max()),
        prompt=evidence.batch.prompts[int(changes[node].argmax())].text,
    )


def _find_telling_reference(root: TreeNode, donors: TreeDonors) -> int:
    """The first of the references for which the fewest nodes got the same prompt."""
    # [nodes, references]; sorted, so that equal prompts of one reference stand side by side
    drawn = np.sort(np.stack([donors.datum[node.path] for node in root.walk()]), axis=0)
    return int((np.diff(drawn, axis=0) != 0).sum(axis=0).argmax())


def _recover_if_apart(losses: Losses) -> Interval | None:
    """The loss recovered; None where the model's loss is that of the zero point."""
    model, nothing = losses.mean_loss(MODEL).mean, losses.mean_loss(RANDOM_PROMPTS).mean
    apart = abs(nothing - model) > _ROUNDING * max(abs(nothing), abs(model))
    return losses.loss_recovered(SCRUBBED) if apart else None
