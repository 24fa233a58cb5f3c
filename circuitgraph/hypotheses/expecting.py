"""Expectations: what was measured against the bounds that a hypothesis file gives.

An expectation holds only if its whole 95 % interval lies within the bounds. A mean inside with an
interval that
crosses a bound is not shown, and the verdict asks for more prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import attention
from circuitgraph.errors import HypothesisError
from circuitgraph.evaluation.intervals import estimate_mean, estimate_proportion
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.interventions.interchange import interchange
from circuitgraph.hypotheses.interventions.necessity import necessity
from circuitgraph.hypotheses.language import Expectation
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.scrubbing.scrub import scrubbed
from circuitgraph.tasks.metrics import metrics

Measured = tuple[Interval, str]
"""A quantity, and what a person should see beside it."""


def judge(evidence: Evidence, expectation: Expectation) -> Verdict:
    """Measure what is expected and compare.

    Raises:
        CircuitGraphError: the quantity cannot be measured here.
    """
    measure = QUANTITIES.get(expectation.quantity, _metric)
    found, seen = measure(evidence, expectation)
    held, how = _compared(found, expectation)
    shown = f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}], {evidence.n} prompts"
    detail = [seen] if seen and not held else []
    if expectation.rivals_below is not None:
        worse = [
            f"rival {name!r} recovers {i.mean:.3f} [{i.low:.3f}, {i.high:.3f}], not below "
            f"{expectation.rivals_below:g}"
            for name, i in _rivals(evidence).items()
            if i.high >= expectation.rivals_below
        ]
        held, detail = held and not worse, detail + worse
        how += f"; {len(worse)} rivals too good" if worse else ""
    return Verdict(held, f"{expectation.name}: {shown}: {how}", "\n".join(detail))


def _compared(found: Interval, expectation: Expectation) -> tuple[bool, str]:
    low, high = expectation.at_least, expectation.at_most
    if (low is not None and found.high < low) or (high is not None and found.low > high):
        return False, "refuted"
    if (low is not None and found.low < low) or (high is not None and found.high > high):
        return False, "not shown: the interval crosses the bound; more prompts may decide it"
    return True, "held"


def _accuracy(evidence: Evidence, expectation: Expectation) -> Measured:
    right = evidence.follows_program
    said = evidence.texts(evidence.plain.top)
    wrong = sorted(
        (p for p, ok in zip(evidence.batch.prompts, right, strict=True) if not ok), key=len
    )
    shown = (
        ""
        if not wrong
        else _wrong(evidence, wrong[0], said[evidence.batch.prompts.index(wrong[0])])
    )
    return estimate_proportion(int(right.sum()), len(right)), shown


def _wrong(evidence: Evidence, prompt: Prompt, said: str) -> str:
    answers = " or ".join(sorted(evidence.study.program.compute_answers(prompt))[:4]) or "nothing"
    return f"shortest counterexample: {prompt!r}\nthe program says {answers}, the model {said}"


def _scrubbed_accuracy(evidence: Evidence, expectation: Expectation) -> Measured:
    return scrubbed(evidence).accuracy_scrubbed, ""


def _loss_recovered(evidence: Evidence, expectation: Expectation) -> Measured:
    return scrubbed(evidence).recovered, ""


def _rivals(evidence: Evidence) -> Mapping[str, Interval]:
    return {rival.name: rival.recovered for rival in scrubbed(evidence).rivals}


def _interchange(evidence: Evidence, expectation: Expectation) -> Measured:
    found = interchange(evidence, expectation.of, evidence.seed)
    if found.accuracy is None:
        raise HypothesisError(
            f"The program says nothing on any of {found.n_prompts} prompts once "
            f"{'+'.join(expectation.of)} is swapped: let the output be defined there, or swap other "
            "variables along."
        )
    return found.accuracy, "\n".join(map(str, found.failures[:1]))


def _necessity(evidence: Evidence, expectation: Expectation) -> Measured:
    return necessity(evidence, expectation.of, evidence.seed), ""


def _attention(evidence: Evidence, expectation: Expectation) -> Measured:
    """Mean attention from the site's role to the role asked for, over prompts."""
    site, roles = expectation.site, evidence.study.roles
    if site is None or site.kind != "head" or len(site.roles) != 1 or expectation.to is None:
        raise HypothesisError(
            f"{expectation.location}: attention is expected of=head(l, h) @ 'ROLE', to='ROLE'."
        )
    pattern = attention(evidence.pool, site)
    rows = np.arange(len(evidence.batch))
    at, to = (
        evidence.batch.places[:, roles.index(role)] for role in (site.roles[0], expectation.to)
    )
    return estimate_mean(pattern[rows, at, to], evidence.seed), ""


def _metric(evidence: Evidence, expectation: Expectation) -> Measured:
    """A metric of the whole model."""
    name, own = metrics[expectation.quantity].name, np.arange(len(evidence.batch))
    output = evidence.study.program.variables[evidence.study.program.output]
    root = TreeNode((output.name,), output.name, output.sites[0])
    outcome = run_tree(evidence.pool, root, own, {root.path: own}, [name])
    return estimate_mean(outcome.values[0], evidence.seed), ""


QUANTITIES: dict[str, Callable[[Evidence, Expectation], Measured]] = {
    "accuracy": _accuracy,
    "scrubbed_accuracy": _scrubbed_accuracy,
    "loss_recovered": _loss_recovered,
    "interchange_accuracy": _interchange,
    "necessity": _necessity,
    "attention": _attention,
}
"""What can be expected, beside the name of any metric."""
