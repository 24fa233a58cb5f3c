"""A prepared scrub: the tree of claims, the trials with their donors, their cost, and the run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from circuitgraph.catalog.scrub_record import CostRecord
from circuitgraph.engine.tree.run import Outcome, run_trees
from circuitgraph.engine.tree.sharing import ValueUses
from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import TreeNode, list_site_edges
from circuitgraph.hypotheses.evidence import Evidence, cache_on_evidence
from circuitgraph.hypotheses.scrubbing.nulls import (
    PERMUTED,
    Exchange,
    choose_exchange,
    make_null_trials,
)
from circuitgraph.hypotheses.scrubbing.sampling import Indices, Sampler, TreeDonors
from circuitgraph.hypotheses.scrubbing.trials import (
    SCRUBBED,
    ScrubTrial,
    TrialKey,
    make_baselines,
    make_node_trials,
    make_rival_trial,
)

ACCURACY = "accuracy"


@dataclass(frozen=True)
class PreparedScrub:
    """The tree of claims of some evidence, and how donors are drawn for it."""

    evidence: Evidence
    root: TreeNode
    sampler: Sampler

    @cached_property
    def trials(self) -> list[ScrubTrial]:
        """All trees to run, each with its way of drawing donors."""
        root, sampler = self.root, self.sampler
        rivals = self.evidence.study.hypothesis.rivals
        return [
            *make_baselines(root, sampler),
            ScrubTrial(SCRUBBED, root, sampler),
            *(make_rival_trial(self.evidence, rival, sampler) for rival in rivals),
            *make_null_trials(root, sampler, self.exchange),
            *make_node_trials(root, sampler),
        ]

    @cached_property
    def exchange(self) -> Exchange:
        """The exchange of variables among the sites, which is one of the nulls."""
        return choose_exchange(self.root, self.sampler)

    @property
    def nulls_left_out(self) -> dict[str, str]:
        """Nulls that are not run, with the reasons."""
        return {PERMUTED: self.exchange.why_none} if self.exchange.why_none else {}

    @cached_property
    def donors(self) -> dict[TrialKey, TreeDonors]:
        """The donors of each trial; equal arrays are held once."""
        known: dict[bytes, Indices] = {}
        return {trial.key: trial.draw_donors().share_arrays(known) for trial in self.trials}

    @cached_property
    def cost(self) -> CostRecord:
        """What running the trials takes, known before anything runs."""
        activations = self.evidence.activations
        uses = ValueUses([(trial.root, self.donors[trial.key].inputs) for trial in self.trials])
        sites = {node.site for trial in self.trials for node in trial.root.walk()}
        stages = {activations.reader_of(site).stage for site in sites if site.kind != "embed"}
        # Kept for every prompt: the stream of each stage that is read, and each node's output.
        n_kept = len(stages) + len({site.node for site in sites})
        return CostRecord(
            n_trees=len(self.trials),
            # Equal values of several trees are computed once; every tree has logits of its own.
            n_values=(len(uses.counts) + len(self.trials)) * len(self.evidence.batch),
            bytes_held=4 * n_kept * activations.inputs.tokens.size * activations.model.spec.d_model,
        )

    def run_trials(self) -> dict[TrialKey, Outcome]:
        """The metric, the accuracy and the most likely token of each trial on every reference."""
        references = np.arange(len(self.evidence.batch))
        trees = [(trial.root, self.donors[trial.key].inputs) for trial in self.trials]
        outcomes = run_trees(
            self.evidence.activations,
            trees,
            references,
            [self.evidence.metric, ACCURACY],
            bar=self.evidence.bar,
        )
        return {trial.key: outcome for trial, outcome in zip(self.trials, outcomes, strict=True)}


@cache_on_evidence
def prepare_scrub(evidence: Evidence) -> PreparedScrub:
    """What is scrubbed on some evidence.

    Raises:
        HypothesisError: the claims have no path in the model, or the hypothesis claims nothing.
    """
    study, hypothesis = evidence.study, evidence.study.hypothesis
    root = study.tree()
    if not root.children:
        raise HypothesisError(
            f"{hypothesis.name!r} claims nothing that could be scrubbed: give what its output "
            "is computed from a site with at=."
        )
    layouts = evidence.layouts if hypothesis.align == "index" else None
    list_edges = partial(list_site_edges, study.graph)
    sampler = Sampler(evidence.codes, evidence.seed, hypothesis.unclaimed, layouts, list_edges)
    return PreparedScrub(evidence, root, sampler)
