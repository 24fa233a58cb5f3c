"""Expectations: what was measured against the bounds that a hypothesis file gives.

An expectation holds only if its whole 95 % interval lies within the bounds. A mean inside with an
interval that crosses a bound shows nothing, and the verdict asks for more prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.tree.swap import read_attention
from circuitgraph.errors import HypothesisError
from circuitgraph.evaluation.intervals import estimate_mean, estimate_proportion
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.interventions.interchange import swap_variables
from circuitgraph.hypotheses.interventions.necessity import measure_necessity
from circuitgraph.hypotheses.language import Expectation
from circuitgraph.hypotheses.scrubbing.scrub import scrub_evidence
from circuitgraph.tasks.metrics import metrics

_CROSSES = ": the interval crosses the bound; more prompts may decide it"

Measurement = tuple[Interval, str]
"""A quantity, and what a person should see beside it."""


def judge_expectation(evidence: Evidence, expectation: Expectation) -> Verdict:
    """Measure what is expected and compare.

    Raises:
        CircuitGraphError: the quantity cannot be measured here.
    """
    measure = QUANTITIES.get(expectation.quantity, _measure_metric)
    measured, example = measure(evidence, expectation)
    words = [_compare_bounds(measured, expectation)]
    detail = [example] if example and words != ["held"] else []
    outcome = words[0] + (_CROSSES if words[0] == "not shown" else "")
    if expectation.rivals_below is not None:
        too_good = _list_good_rivals(evidence, expectation.rivals_below)
        words += [word for word, _ in too_good]
        detail += [text for _, text in too_good]
        outcome += f"; {len(too_good)} rivals too good" if too_good else ""
    summary = (
        f"{expectation.name}: {measured.mean:.3f} [{measured.low:.3f}, {measured.high:.3f}], "
        f"{evidence.n} prompts: {outcome}"
    )
    held, refuted = set(words) == {"held"}, "refuted" in words
    return Verdict(held, summary, "\n".join(detail), undecided=not held and not refuted)


def _compare_bounds(measured: Interval, expectation: Expectation) -> str:
    """``refuted`` if the whole interval is out of bounds, ``held`` if it is within them."""
    low, high = expectation.at_least, expectation.at_most
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    if measured.high < low or measured.low > high:
        return "refuted"
    return "held" if low <= measured.low and measured.high <= high else "not shown"


def _list_good_rivals(evidence: Evidence, bound: float) -> list[tuple[str, str]]:
    """Rivals that may recover as much of the loss as the bound: the verdict, and why in words."""
    too_good = []
    for rival in scrub_evidence(evidence).rivals:
        i, word = rival.recovered, "not shown"
        if i.high < bound:
            continue
        text = f"rival {rival.name!r} recovers {i.mean:.3f} [{i.low:.3f}, {i.high:.3f}], "
        if i.low >= bound:
            word, text = "refuted", text + f"not below {bound:g}"
        else:
            text += f"not shown to be below {bound:g}"
        too_good.append((word, text))
    return too_good


def _measure_accuracy(evidence: Evidence, expectation: Expectation) -> Measurement:
    right = evidence.follows_program
    wrong = np.flatnonzero(~right)
    accuracy = estimate_proportion(int(right.sum()), len(right))
    if not len(wrong):
        return accuracy, ""
    shortest = min(wrong, key=lambda i: len(evidence.batch.prompts[i]))
    return accuracy, _describe_wrong(evidence, int(shortest))


def _describe_wrong(evidence: Evidence, index: int) -> str:
    """The counterexample at this index of the evidence, in words."""
    prompt = evidence.batch.prompts[index]
    text = evidence.decode_tokens(evidence.plain_outcome.top)[index]
    answers = " or ".join(sorted(evidence.study.program.compute_answers(prompt))[:4]) or "nothing"
    return f"shortest counterexample: {prompt!r}\nthe program says {answers}, the model {text}"


def _measure_scrubbed_accuracy(evidence: Evidence, expectation: Expectation) -> Measurement:
    return scrub_evidence(evidence).accuracy_scrubbed, ""


def _measure_loss_recovered(evidence: Evidence, expectation: Expectation) -> Measurement:
    return scrub_evidence(evidence).recovered, ""


def _measure_interchange(evidence: Evidence, expectation: Expectation) -> Measurement:
    interchange = swap_variables(evidence, expectation.of, evidence.seed)
    if interchange.accuracy is None:
        raise HypothesisError(
            f"The program says nothing on any of {interchange.n_prompts} prompts once "
            f"{'+'.join(expectation.of)} is swapped: let the output be defined there, or swap "
            "other variables along."
        )
    return interchange.accuracy, "\n".join(map(str, interchange.failures[:1]))


def _measure_necessity(evidence: Evidence, expectation: Expectation) -> Measurement:
    return measure_necessity(evidence, expectation.of, evidence.seed), ""


def _measure_attention(evidence: Evidence, expectation: Expectation) -> Measurement:
    """Mean attention, over prompts, from the site's role to the role that is expected."""
    site, roles = expectation.site, evidence.study.roles
    if site is None or site.kind != "head" or len(site.roles) != 1 or expectation.to is None:
        raise HypothesisError(
            f"{expectation.location}: attention is expected of=head(l, h) @ 'ROLE', to='ROLE'."
        )
    pattern = read_attention(evidence.activations, site)  # [prompts, queries, keys]
    queries, keys = (
        evidence.batch.positions[:, roles.index(role)] for role in (site.roles[0], expectation.to)
    )
    return estimate_mean(pattern[np.arange(len(evidence.batch)), queries, keys], evidence.seed), ""


def _measure_metric(evidence: Evidence, expectation: Expectation) -> Measurement:
    """A metric of the whole model."""
    outcome = evidence.run_plain(metrics[expectation.quantity].name)
    share = metrics[expectation.quantity].is_share
    return estimate_mean(outcome.values[0], evidence.seed, share=share), ""


QUANTITIES: dict[str, Callable[[Evidence, Expectation], Measurement]] = {
    "accuracy": _measure_accuracy,
    "scrubbed_accuracy": _measure_scrubbed_accuracy,
    "loss_recovered": _measure_loss_recovered,
    "interchange_accuracy": _measure_interchange,
    "necessity": _measure_necessity,
    "attention": _measure_attention,
}
"""What can be expected, beside the name of any metric."""
