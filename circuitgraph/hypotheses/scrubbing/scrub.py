"""Causal scrubbing: replace all that a hypothesis says does not matter, and see what is left of the
behaviour.

Every path of the claim gets its own prompt, drawn as `sampling` says (Chan et al. 2022). One number
is no verdict, for
wrong hypotheses are known to recover most of the loss. So each scrub runs the rivals that the file
names and nulls that
say nothing on the same prompts, each node alone, and all but it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path as File

import numpy as np

from circuitgraph.api import environment, model_record, task_record
from circuitgraph.catalog.hypothesis_record import HypothesisRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.catalog.scrub_record import ClassesRecord, ComparedRecord, CostRecord, ScrubRecord
from circuitgraph.engine.tree.run import Outcome, edges, run_trees
from circuitgraph.engine.tree.sharing import Uses
from circuitgraph.errors import HypothesisError, check_at_least, check_choice
from circuitgraph.evaluation.intervals import estimate_mean, estimate_proportion
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.evidence import N_PROMPTS, Evidence
from circuitgraph.hypotheses.language import ALIGN, UNCLAIMED, Align, Unclaimed
from circuitgraph.hypotheses.scrubbing.losses import Losses, worst_tenth
from circuitgraph.hypotheses.scrubbing.parts import classes_of, nodes_of, splits_of
from circuitgraph.hypotheses.scrubbing.sampling import Donors, Indices, Sampler
from circuitgraph.hypotheses.scrubbing.trials import (
    MODEL,
    RANDOM_PROMPTS,
    SCRUBBED,
    Key,
    Trial,
    baselines,
    nulls,
    parts,
    rival,
)
from circuitgraph.hypotheses.study import Study
from circuitgraph.hypotheses.writing.stored import stored
from circuitgraph.tasks.metrics import metrics

ZERO_POINT = "logits of random other prompts"
_ACCURACY = "accuracy"


def scrub(
    study: Study,
    *,
    n: int = N_PROMPTS,
    seed: int = 0,
    metric: str | None = None,
    unclaimed: Unclaimed | None = None,
    align: Align | None = None,
    bar: bool = False,
    memory: int | None = None,
) -> ScrubRecord:
    """Scrub a hypothesis on prompts that nobody has looked at while writing it.

    Args:
        n: how many prompts: each is a reference, and all of them together are the pool of donors.
        seed: of the donors; the study has that of the prompts.
        metric, unclaimed, align: the hypothesis's own if None.
        bar: show progress.
        memory: limit in bytes of the activations that are kept.

    Raises:
        HypothesisError: the claims have no path in the model, a variable has no two prompts of one
            value, or the model does no better than chance.
        CircuitGraphError: an unknown name, fewer prompts than asked for, or too little memory.
    """
    check_at_least("n", n, 2)
    return scrubbed(Evidence(asked(study, metric, unclaimed, align), n, seed, bar, memory))


def ready(evidence: Evidence) -> Scrub:
    """All that a scrub runs on prompts that are at hand."""
    return evidence.once(Scrub.of)


def scrubbed(evidence: Evidence) -> ScrubRecord:
    """As `scrub`, on prompts that are at hand."""
    return evidence.once(_scrubbed)


def _scrubbed(evidence: Evidence) -> ScrubRecord:
    return ready(evidence).result()


def asked(study: Study, metric: str | None, unclaimed: str | None, align: str | None) -> Study:
    """A study of the same hypothesis with these in place of what its file says, where they are
    given.
    """
    hypothesis = copy(study.hypothesis)
    if metric is not None:
        hypothesis.metric = metrics[metric].name
    if unclaimed is not None:
        hypothesis.unclaimed = next(
            u for u in UNCLAIMED if u == check_choice("unclaimed", unclaimed, UNCLAIMED)
        )
    if align is not None:
        hypothesis.align = next(a for a in ALIGN if a == check_choice("align", align, ALIGN))
    return replace(study, hypothesis=hypothesis)


@dataclass(frozen=True)
class Scrub:
    """One scrub, made ready: the prompts, the tree, and how donors are drawn."""

    evidence: Evidence
    root: TreeNode
    sampler: Sampler

    @classmethod
    def of(cls, evidence: Evidence) -> Scrub:
        """What a hypothesis asks for.

        Raises:
            HypothesisError: its claims have no path in the model, or it claims nothing.
        """
        study, hypothesis = evidence.study, evidence.study.hypothesis
        root = study.tree()
        if not root.children:
            raise HypothesisError(
                f"{hypothesis.name!r} claims nothing that could be scrubbed: give what its output "
                "is computed from a site with at=."
            )
        layouts = evidence.layouts if hypothesis.align == "index" else None
        edges_of = partial(edges, study.graph)
        return cls(
            evidence,
            root,
            Sampler(evidence.codes, evidence.seed, hypothesis.unclaimed, layouts, edges_of),
        )

    @cached_property
    def trials(self) -> list[Trial]:
        """All trees to run."""
        rivals = [
            rival(self.evidence, one, self.sampler) for one in self.evidence.study.hypothesis.rivals
        ]
        scrubbed = Trial(SCRUBBED, self.root, self.sampler)
        both = (self.root, self.sampler)
        return [*baselines(*both), scrubbed, *rivals, *nulls(*both), *parts(*both)]

    @cached_property
    def donors(self) -> dict[Key, Donors]:
        """Those of each trial; equal ones are held once."""
        known: dict[bytes, Indices] = {}
        return {trial.key: trial.draw().interned(known) for trial in self.trials}

    @cached_property
    def cost(self) -> CostRecord:
        """What running them takes, before anything runs."""
        pool, uses = (
            self.evidence.pool,
            Uses([(t.root, self.donors[t.key].inputs) for t in self.trials]),
        )
        sites = {node.site for trial in self.trials for node in trial.root.walk()}
        n_kept = len({pool.reader(s).stage for s in sites if s.kind != "embed"}) + len(
            {s.node for s in sites}
        )
        return CostRecord(
            n_trees=len(self.trials),
            n_values=(len(uses.counts) + len(self.trials)) * len(self.evidence.batch),
            bytes_held=4 * n_kept * pool.inputs.tokens.size * pool.model.spec.d_model,
        )

    def result(self) -> ScrubRecord:
        """Run everything.

        Raises:
            HypothesisError: a variable has no two prompts of one value, or the model does no better
                than chance.
            ArgumentError: the activations do not fit into memory.
        """
        outcomes = self.run()
        losses = Losses(
            {key: self.evidence.losses(found) for key, found in outcomes.items()},
            self.evidence.seed,
        )
        losses.check(self.evidence.metric)
        return self.record(outcomes, losses, self.donors[SCRUBBED])

    def run(self) -> dict[Key, Outcome]:
        """The metric, the accuracy and the most likely token of each trial on every reference."""
        references, names = np.arange(len(self.evidence.batch)), [self.evidence.metric, _ACCURACY]
        trees = [(trial.root, self.donors[trial.key].inputs) for trial in self.trials]
        outcomes = run_trees(self.evidence.pool, trees, references, names, bar=self.evidence.bar)
        return {trial.key: outcome for trial, outcome in zip(self.trials, outcomes, strict=True)}

    def record(
        self, outcomes: Mapping[Key, Outcome], losses: Losses, donors: Donors
    ) -> ScrubRecord:
        """All that was measured, as it is stored."""
        study, seed = self.evidence.study, self.evidence.seed
        file = File(study.hypothesis.location.file)
        changed = np.abs(losses.of[SCRUBBED] - losses.of[MODEL])
        classes = classes_of(self.root, self.sampler)
        rivals, nulled = (self._compared(kind, outcomes, losses) for kind in ("rival", "null"))
        recovered, deviation = losses.recovered(SCRUBBED), estimate_mean(changed, seed)
        held, verdict = judged(study.hypothesis.name, recovered, rivals, nulled, untested(classes))
        room = losses.mean(RANDOM_PROMPTS).mean - losses.mean(MODEL).mean
        layouts, drawn = self.evidence.layouts, list(donors.each())
        return ScrubRecord(
            hypothesis=study.hypothesis.name,
            file=file.name,
            file_sha256=hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None,
            stored=_stored(study),
            model=model_record(study.model),
            task=task_record(study.task, self.evidence.batch.tokens, "evaluation"),
            environment=environment(study.model.dtype),
            metric=self.evidence.metric,
            unclaimed=self.sampler.unclaimed,
            align=study.hypothesis.align,
            seed=seed,
            n=len(self.evidence.batch),
            zero_point=ZERO_POINT,
            loss_model=losses.mean(MODEL),
            loss_random=losses.mean(RANDOM_PROMPTS),
            loss_scrubbed=losses.mean(SCRUBBED),
            recovered=recovered,
            standard_error=losses.standard_error(SCRUBBED),
            accuracy_model=_accuracy(outcomes[MODEL]),
            accuracy_random=_accuracy(outcomes[RANDOM_PROMPTS]),
            accuracy_scrubbed=_accuracy(outcomes[SCRUBBED]),
            agreement=estimate_proportion(
                int(np.sum(outcomes[SCRUBBED].top == outcomes[MODEL].top)), len(self.evidence.batch)
            ),
            deviation=deviation,
            worst_decile=worst_tenth(changed, seed),
            other_layout=float(np.mean([layouts[found] != layouts for found in drawn])),
            classes=classes,
            splits=splits_of(self.evidence, losses),
            nodes=nodes_of(self.evidence, self.root, donors, losses),
            rivals=rivals,
            nulls=nulled,
            notes=notes(classes, recovered, deviation.mean / room),
            held=held,
            verdict=verdict,
            cost=self.cost,
        )

    def _compared(
        self, kind: str, outcomes: Mapping[Key, Outcome], losses: Losses
    ) -> list[ComparedRecord]:
        return [
            ComparedRecord(
                name=key[1],
                loss=losses.mean(key),
                recovered=losses.recovered(key),
                standard_error=losses.standard_error(key),
                accuracy=_accuracy(outcome),
                difference=losses.difference(SCRUBBED, key),
            )
            for key, outcome in outcomes.items()
            if key[0] == kind
        ]


def judged(
    name: str,
    recovered: Interval,
    rivals: list[ComparedRecord],
    nulled: list[ComparedRecord],
    without_donors: Sequence[str] = (),
) -> tuple[bool, str]:
    """Whether a hypothesis comes nearer to the model than chance, every rival and every null; and
    that in a line.

    Args:
        without_donors: variables that were hardly resampled, so that nothing is shown; see
            `untested`.
    """
    mean, low, high = map(_two, (recovered.mean, recovered.low, recovered.high))
    shown = [f"{name}: {mean} of the loss recovered [{low}, {high}]"]
    for kind, found in (("rival", rivals), ("null", nulled)):
        if found:
            best = min(found, key=lambda one: abs(1 - one.recovered.mean))
            shown.append(f"best {kind} {_two(best.recovered.mean)} ({best.name!r})")
    line = f"{shown[0]}; {', '.join(shown[1:])}" if len(shown) > 1 else shown[0]
    if recovered.low <= 0 or recovered.high >= 2:
        return False, f"{line}: refuted, no nearer to the model than {ZERO_POINT}"
    beaten = [one.name for one in (*rivals, *nulled) if one.difference.low <= 0]
    if beaten:
        return False, f"{line}: refuted, no better than {' or '.join(map(repr, beaten))}"
    if without_donors:
        return False, (
            f"{line}: not shown, most prompts have no donor but themselves for "
            f"{', '.join(without_donors)}: draw more prompts, or use coarser variables"
        )
    return True, f"{line}: not refuted"


def _two(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no "-0.00"


def untested(classes: list[ClassesRecord]) -> list[str]:
    """Variables for which most prompts can only be their own donors: a claim that could hardly
    fail.
    """
    return [c.variable for c in classes if 2 * c.singletons > c.mean * c.n_classes]


def notes(classes: list[ClassesRecord], recovered: Interval, changed: float) -> list[str]:
    """What makes a share of the loss recovered say less than it seems to.

    Args:
        changed: how much prompts' losses change on average, as a share of the loss to recover.
    """
    alone = ", ".join(f"{c.singletons} ({c.variable})" for c in classes if c.singletons)
    found = (
        [f"prompts that share their value with no other, and can only be their own donors: {alone}"]
        if alone
        else []
    )
    if recovered.low > 1.01:
        found.append(
            f"{recovered.mean:.0%} of the loss recovered is more than there is: what works against "
            "the behaviour in the model was resampled away, so the hypothesis leaves it out"
        )
    lost = abs(1 - recovered.mean)
    if changed > max(0.1, 2 * lost):
        found.append(
            f"prompts change by {changed:.0%} of the loss to recover, their mean by {lost:.0%} "
            "only: what helps some hides what harms others"
        )
    return found


def _accuracy(outcome: Outcome) -> Interval:
    return estimate_proportion(int(outcome.values[1].sum()), len(outcome.values[1]))


def _stored(study: Study) -> HypothesisRecord | None:
    try:
        return stored(study.hypothesis)
    except HypothesisError:  # the text of a function is not in any file
        return None
