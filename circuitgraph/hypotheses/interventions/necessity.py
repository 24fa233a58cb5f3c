"""Necessity: the claimed paths alone are resampled, all else stays; the behaviour should go."""

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


def measure_necessity(evidence: Evidence, variables: Sequence[str] = (), seed: int = 0) -> Interval:
    """The share of the model's advantage over chance that goes with the claimed paths.

    It is (loss resampled - model's loss) / (loss at chance - model's loss): 1 if nothing is left
    without them. Every leaf of the tree of claims, or every site of the ``variables`` if some are
    given, takes its value from a random prompt of its own; all inputs that no claim covers stay as
    they are. Chance is a random other prompt's logits.

    Raises:
        UnknownNameError: a variable that no path carries.
    """
    n = len(evidence.batch)
    tree = evidence.study.tree()
    carried = {node.variable for node in tree.walk()}
    for name in variables:
        if name not in carried:
            raise unknown_name("variable on a claimed path", name, carried)
    if variables:
        tree = _cut_tree(tree, set(variables))
    nodes = list(tree.walk())
    resampled = [
        node for node in nodes if (node.variable in variables if variables else not node.children)
    ]
    # The draws stand in this order in every stored result: the nodes', then that of chance.
    rng, own = np.random.default_rng([seed, n]), np.arange(n)
    inputs = {node.path: own for node in nodes}
    inputs |= {node.path: rng.integers(n, size=n) for node in resampled}
    root = replace(tree, children=())
    chance = {root.path: rng.integers(n, size=n)}
    trees = [(root, {root.path: own}), (tree, inputs), (root, chance)]
    outcomes = [
        run_tree(evidence.activations, node, own, prompts, [evidence.metric])
        for node, prompts in trees
    ]
    # [model | resampled | chance, prompts]
    losses = np.stack([evidence.compute_losses(outcome) for outcome in outcomes])
    return estimate_from_means(lambda m: (m[1] - m[0]) / (m[2] - m[0]), losses, seed)


def _cut_tree(node: TreeNode, variables: set[str]) -> TreeNode:
    """The tree in which nodes of these variables are leaves."""
    if node.variable in variables:
        return replace(node, children=())
    children = tuple(_cut_tree(child, variables) for child in node.children)
    return replace(node, children=children)
