"""Causal scrubbing: resample all that a hypothesis says does not matter, and see what is left.

Every path of the claim gets its own prompt, drawn as `sampling` says (Chan et al. 2022). One number
is no verdict, because wrong hypotheses are known to recover most of the loss. So each scrub also
runs, on the same prompts, the rivals that the file names, nulls that say nothing, each node alone,
and all nodes but it.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from circuitgraph.catalog.scrub_record import ScrubRecord
from circuitgraph.errors import check_choice
from circuitgraph.hypotheses.evidence import Evidence, cache_on_evidence
from circuitgraph.hypotheses.language import ALIGN, UNCLAIMED
from circuitgraph.hypotheses.scrubbing.prepared import prepare_scrub
from circuitgraph.hypotheses.scrubbing.record import make_record
from circuitgraph.hypotheses.study import Study
from circuitgraph.tasks.metrics import metrics


@cache_on_evidence
def scrub_evidence(evidence: Evidence) -> ScrubRecord:
    """Scrub a hypothesis on prompts that are at hand.

    Raises:
        HypothesisError: the claims have no path in the model, a variable has no two prompts of one
            value, or the model does no better than chance.
        ArgumentError: the activations do not fit into memory.
    """
    prepared = prepare_scrub(evidence)
    return make_record(prepared, prepared.run_trials())


def override_settings(
    study: Study, metric: str | None, unclaimed: str | None, align: str | None
) -> Study:
    """A study of the same hypothesis, with these settings in place of the file's where given."""
    hypothesis = copy(study.hypothesis)  # the file's own stays as it is written
    if metric is not None:
        hypothesis.metric = metrics[metric].name
    if unclaimed is not None:
        check_choice("unclaimed", unclaimed, UNCLAIMED)
        hypothesis.unclaimed = next(choice for choice in UNCLAIMED if choice == unclaimed)
    if align is not None:
        check_choice("align", align, ALIGN)
        hypothesis.align = next(choice for choice in ALIGN if choice == align)
    return replace(study, hypothesis=hypothesis)
