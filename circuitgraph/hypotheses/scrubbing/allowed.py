"""How many of the prompts that a tree's nodes read are donors that a hypothesis allows.

A claim on a path asks only what its variables have in common: donors that agree in the year, and
then in the decade, may as well be drawn by first the decade and then the year. So other variables
at the same sites can ask the same, and only what the nodes are given in the end tells trees apart.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.scrubbing.sampling import Classes, Indices, Sampler, TreeDonors


def measure_allowed(
    root: TreeNode, sampler: Sampler, references: Indices, donors: TreeDonors
) -> float:
    """The share of the leaves' prompts that the sampler could have drawn, most of them at once.

    All that the model reads of a node with children is its children's prompts, and one that is
    drawn without condition. So the node's own donor may be any prompt with which the children's
    agree. Where what is unclaimed stays on the node's own donor that is read too, and each node
    must agree with its parent.

    Args:
        donors: as drawn by any sampler for these references.
    """
    if sampler.unclaimed == "keep":
        return _measure_agreement(root, sampler, donors)
    n_leaves = sum(not node.children for node in root.walk())
    most = _count_allowed(root, sampler, donors)[np.arange(len(references)), references]
    return float(most.mean()) / n_leaves


def _count_allowed(
    node: TreeNode, sampler: Sampler, donors: TreeDonors
) -> Int[np.ndarray, "references pool"]:
    """How many leaves below have an allowed prompt, if the node's own donor is each of the pool."""
    counts = []
    for child in node.children:
        classes = sampler.classify_pool(child.variable)
        if child.children:
            counts.append(_take_best(_count_allowed(child, sampler, donors), classes))
        else:
            given = classes.class_numbers[donors.datum[child.path]]
            counts.append((given[:, None] == classes.class_numbers).astype(np.int64))
    return np.sum(counts, axis=0)


def _take_best(
    counts: Int[np.ndarray, "references pool"], classes: Classes
) -> Int[np.ndarray, "references pool"]:
    """For each prompt the largest count in its class."""
    best = np.maximum.reduceat(counts[:, classes.members], classes.starts, axis=1)
    return best[:, classes.class_numbers]


def _measure_agreement(root: TreeNode, sampler: Sampler, donors: TreeDonors) -> float:
    """How often a node's donor agrees with its parent's on the node's variable."""
    shares: list[Float[np.floating, ""]] = []
    for node in root.walk():
        for child in node.children:
            numbers = sampler.classify_pool(child.variable).class_numbers
            own, parents = (donors.datum[one.path] for one in (child, node))
            shares.append(np.mean(numbers[own] == numbers[parents]))
    return float(np.mean(shares))
