"""What is run to judge a hypothesis: its tree, parts of it, and rivals' trees; see also `nulls`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.language import Rival
from circuitgraph.hypotheses.scrubbing.sampling import (
    Indices,
    Mode,
    Sampler,
    TreeDonors,
)

TrialKey = tuple[str, ...]
"""What a trial is called: ``("model",)``, ``("rival", name)``, ``("alone", *path)``."""

MODEL, RANDOM_PROMPTS, SCRUBBED = ("model",), ("random",), ("scrubbed",)


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
    return ScrubTrial(("rival", rival.name), root, replace_codes(sampler, codes))


def replace_codes(sampler: Sampler, codes: Mapping[str, Indices]) -> Sampler:
    """The sampler with other classes."""
    return replace(sampler, codes=codes, known_classes={})
