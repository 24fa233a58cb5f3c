"""Necessity: the claimed paths alone are resampled, and all else stays; the behaviour should go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.errors import unknown_name
from circuitgraph.evaluation.intervals import estimate_from_means
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.evidence import Evidence


def necessity(evidence: Evidence, variables: Sequence[str] = (), seed: int = 0) -> Interval:
    """The share of the model's advantage over chance that goes with the claimed paths.

    It is (loss resampled - model's loss) / (loss at chance - model's loss): 1 if nothing is left
    without them. Every leaf of the tree of claims, or every site of the ``variables`` if some are
    given, takes its value from a random prompt of its own; all inputs that no claim covers stay as
    they are. Chance is a random other prompt's logits.

    Raises:
        UnknownNameError: a variable that no path carries.
    """
    study, n = evidence.study, len(evidence.batch)
    tree = study.tree()
    for name in variables:
        if name not in {node.variable for node in tree.walk()}:
            raise unknown_name(
                "variable on a claimed path", name, {node.variable for node in tree.walk()}
            )
    if variables:
        tree = _cut(tree, set(variables))
    rng, own = np.random.default_rng([seed, n]), np.arange(n)
    chosen = [
        node
        for node in tree.walk()
        if (node.variable in variables if variables else not node.children)
    ]
    inputs = {node.path: own for node in tree.walk()} | {
        node.path: rng.integers(n, size=n) for node in chosen
    }
    root = replace(tree, children=())
    random = {root.path: rng.integers(n, size=n)}
    asked = [(root, {root.path: own}), (tree, inputs), (root, random)]
    outcomes = [
        run_tree(evidence.pool, node, own, given, [evidence.metric]) for node, given in asked
    ]
    losses = np.stack([evidence.losses(outcome) for outcome in outcomes])
    return estimate_from_means(lambda m: (m[1] - m[0]) / (m[2] - m[0]), losses, seed)


def _cut(node: TreeNode, variables: set[str]) -> TreeNode:
    """The tree in which nodes of these variables are leaves."""
    if node.variable in variables:
        return replace(node, children=())
    return replace(node, children=tuple(_cut(child, variables) for child in node.children))
