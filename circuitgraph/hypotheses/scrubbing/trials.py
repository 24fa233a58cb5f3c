"""Everything that is run to judge a hypothesis: its tree, parts of it, rivals' trees and nulls.

A null is the hypothesis's own tree with variables that say nothing, or something else. A crude
hypothesis can recover much of the loss: only one that recovers more than its nulls has said
anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.language import Rival
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.scrubbing.sampling import (
    Indices,
    Mode,
    Sampler,
    TreeDonors,
    make_generator,
)

TrialKey = tuple[str, ...]
"""What a trial is called: ``("model",)``, ``("rival", name)``, ``("alone", *path)``."""

MODEL, RANDOM_PROMPTS, SCRUBBED = ("model",), ("random",), ("scrubbed",)

UNCONDITIONAL = "all donors drawn without condition"
PERMUTED = "variables exchanged among the sites"
RANDOM = "random functions with classes of the same sizes"

_TRIES = 200  # random exchanges of variables, of which the best is taken


@dataclass(frozen=True)
class ScrubTrial:
    """One tree with its way of drawing donors.

    Attributes:
        modes, keep: as `Sampler.draw_donors` has them.
    """

    key: TrialKey
    root: TreeNode
    sampler: Sampler
    modes: Mapping[Path, Mode] = field(default_factory=dict)
    keep: Collection[Path] = ()

    def draw_donors(self) -> TreeDonors:
        """Donors for every prompt of the pool."""
        references = np.arange(len(self.sampler))
        return self.sampler.draw_donors(self.root, references, modes=self.modes, keep=self.keep)


def make_baselines(root: TreeNode, sampler: Sampler) -> list[ScrubTrial]:
    """The model itself, which recovers all, and its outputs on random prompts: nothing recovered.

    Outputs need no alignment, so the random prompts are of all the pool, whatever their layout.
    """
    output, unaligned = (
        replace(root, children=()),
        replace(sampler, layouts=None, known_classes={}),
    )
    return [
        ScrubTrial(MODEL, output, unaligned),
        ScrubTrial(RANDOM_PROMPTS, output, unaligned, {root.path: "free"}),
    ]


def make_node_trials(root: TreeNode, sampler: Sampler) -> Iterator[ScrubTrial]:
    """Each node scrubbed alone, and all but it. Nodes that share a donor are scrubbed together.

    Alone means that the node's donor and its unclaimed inputs are drawn; all other nodes follow
    their parents' prompt.
    """
    nodes = list(root.walk())
    for node in nodes:
        together = {
            n.path
            for n in nodes
            if n.path == node.path or (n.tie is not None and n.tie == node.tie)
        }
        others = {n.path for n in nodes} - together
        for name, exact in (("alone", others), ("all but", together)):
            key = (name, *node.path)
            yield ScrubTrial(key, root, sampler, dict.fromkeys(exact, "exact"), exact)


def make_rival_trial(evidence: Evidence, rival: Rival, sampler: Sampler) -> ScrubTrial:
    """A rival's tree, with the classes of the rival's own program.

    Raises:
        HypothesisError: the rival claims a path that the graph does not have.
    """
    program = evidence.study.program.with_rival(rival)
    codes = program.compute_codes(evidence.batch.prompts)
    try:
        root = evidence.study.tree(program)
    except HypothesisError as error:
        raise HypothesisError(f"{rival.location}: rival {rival.name!r}: {error}") from error
    return ScrubTrial(("rival", rival.name), root, _replace_codes(sampler, codes))


def make_null_trials(root: TreeNode, sampler: Sampler) -> Iterator[ScrubTrial]:
    """The hypothesis's own tree with no conditions, with exchanged ones, and with random ones."""
    below_root = [node for node in root.walk() if node.path != root.path]
    variables = sorted({node.variable for node in below_root})
    yield ScrubTrial(
        ("null", UNCONDITIONAL), root, sampler, {node.path: "free" for node in below_root}
    )
    exchanged = exchange_variables(sampler.codes, variables, sampler.seed)
    if exchanged is not None:
        yield ScrubTrial(("null", PERMUTED), root, _replace_codes(sampler, exchanged))
    shuffled = shuffle_values(sampler.codes, variables, sampler.seed)
    yield ScrubTrial(("null", RANDOM), root, _replace_codes(sampler, shuffled))


def _replace_codes(sampler: Sampler, codes: Mapping[str, Indices]) -> Sampler:
    return replace(sampler, codes=codes, known_classes={})


def exchange_variables(
    codes: Mapping[str, Indices], variables: Sequence[str], seed: int
) -> dict[str, Indices] | None:
    """Every variable with another one's classes; None if all of them have the same classes.

    Variables that a program copies from each other have the same classes, and an exchange of those
    would change nothing. So of many random exchanges the one is taken that gives the most variables
    classes that are not their own, the first of those that are equally good.
    """
    # The keys of the generators are part of every stored result: they stay as they are.
    generator = make_generator(seed, "exchanged")
    kinds = {name: number_classes(codes[name]).tobytes() for name in variables}
    most_changed, best_order = 0, list(variables)
    for _ in range(_TRIES):
        order = [variables[int(i)] for i in generator.permutation(len(variables))]
        n_changed = sum(
            kinds[name] != kinds[other] for name, other in zip(variables, order, strict=True)
        )
        if n_changed > most_changed:
            most_changed, best_order = n_changed, order
    if most_changed == 0:
        return None
    exchanged = {name: codes[other] for name, other in zip(variables, best_order, strict=True)}
    return {**codes, **exchanged}


def shuffle_values(
    codes: Mapping[str, Indices], variables: Sequence[str], seed: int
) -> dict[str, Indices]:
    """Every variable with its values dealt out anew: classes of the same sizes, without meaning."""
    shuffled = {
        name: make_generator(seed, "shuffled", name).permutation(codes[name]) for name in variables
    }
    return {**codes, **shuffled}
