"""Everything that is run to judge a hypothesis: its tree, parts of it, rivals' trees and nulls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.language import Rival
from circuitgraph.hypotheses.scrubbing.nulls import (
    PERMUTED,
    RANDOM,
    UNCONDITIONAL,
    exchanged,
    shuffled,
)
from circuitgraph.hypotheses.scrubbing.sampling import Donors, Indices, Mode, Sampler

Key = tuple[str, ...]
"""What a trial is called: ``("model",)``, ``("rival", name)``, ``("alone", *path)``."""

MODEL, RANDOM_PROMPTS, SCRUBBED = ("model",), ("random",), ("scrubbed",)


@dataclass(frozen=True)
class Trial:
    """One tree with its way of drawing donors.

    Attributes:
        modes, keep: as `Sampler.draw` has them.
    """

    key: Key
    root: TreeNode
    sampler: Sampler
    modes: Mapping[Path, Mode] = field(default_factory=dict)
    keep: Collection[Path] = ()

    def draw(self) -> Donors:
        """Donors for every prompt of the pool."""
        return self.sampler.draw(
            self.root, np.arange(len(self.sampler)), modes=self.modes, keep=self.keep
        )


def baselines(root: TreeNode, sampler: Sampler) -> list[Trial]:
    """The model itself, and its outputs on random other prompts: what counts as all and as nothing
    recovered.

    Outputs need no alignment, so they are of all prompts whatever their layout.
    """
    output, everywhere = replace(root, children=()), replace(sampler, layouts=None, known={})
    return [
        Trial(MODEL, output, everywhere),
        Trial(RANDOM_PROMPTS, output, everywhere, {root.path: "free"}),
    ]


def parts(root: TreeNode, sampler: Sampler) -> Iterator[Trial]:
    """Each node scrubbed alone, and all but it. Nodes that share a donor are scrubbed together.

    Alone means that its donor and what is unclaimed at it are drawn; all other nodes follow their
    parents' prompt.
    """
    nodes = list(root.walk())
    for node in nodes:
        these = {
            n.path
            for n in nodes
            if n.path == node.path or (n.tie is not None and n.tie == node.tie)
        }
        others = {n.path for n in nodes} - these
        yield Trial(("alone", *node.path), root, sampler, dict.fromkeys(others, "exact"), others)
        yield Trial(("all but", *node.path), root, sampler, dict.fromkeys(these, "exact"), these)


def rival(evidence: Evidence, of: Rival, sampler: Sampler) -> Trial:
    """A rival's tree, with the classes of the rival's own program.

    Raises:
        HypothesisError: it claims a path that the graph does not have.
    """
    program = evidence.study.program.with_rival(of)
    codes = program.compute_codes(evidence.batch.prompts)
    try:
        root = evidence.study.tree(program)
    except HypothesisError as error:
        raise HypothesisError(f"{of.location}: rival {of.name!r}: {error}") from error
    return Trial(("rival", of.name), root, _with(sampler, codes))


def nulls(root: TreeNode, sampler: Sampler) -> Iterator[Trial]:
    """The hypothesis's own tree with no conditions, with exchanged ones, and with random ones."""
    below = [node for node in root.walk() if node.path != root.path]
    variables = sorted({node.variable for node in below})
    yield Trial(("null", UNCONDITIONAL), root, sampler, {node.path: "free" for node in below})
    others = exchanged(sampler.codes, variables, sampler.seed)
    if others is not None:
        yield Trial(("null", PERMUTED), root, _with(sampler, others))
    yield Trial(
        ("null", RANDOM), root, _with(sampler, shuffled(sampler.codes, variables, sampler.seed))
    )


def _with(sampler: Sampler, codes: Mapping[str, Indices]) -> Sampler:
    return replace(sampler, codes=codes, known={})
