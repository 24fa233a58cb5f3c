"""Interchange: a site takes its value from another prompt; the model must follow the program.

Interchange intervention accuracy is that of Geiger et al. (2021, arXiv:2106.02997): how often the
model, with the sites of some variables taken from donors, says what the program says with the
donors' values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.tree.swap import swap_sites
from circuitgraph.errors import HypothesisError, unknown_name
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.program import Program
from circuitgraph.hypotheses.prompt import Prompt

_MOST_FAILURES = 3  # that are kept

Answers = list[frozenset[str]]


@dataclass(frozen=True)
class SwapFailure:
    """One swap after which the model did not say what the program says."""

    base: Prompt
    donors: tuple[Prompt, ...]
    expected: frozenset[str]
    answer: str

    def __str__(self) -> str:
        donors = "\n".join(f"donor:  {donor!r}" for donor in self.donors)
        expected = " or ".join(sorted(self.expected)[:4])
        return (
            f"prompt: {self.base!r}\n{donors}\nthe program says {expected}, the model {self.answer}"
        )


@dataclass(frozen=True)
class Interchange:
    """What came of swapping some variables.

    Attributes:
        variables: those swapped at once, each from a donor of its own that has another value.
        n_prompts: base prompts that have such donors; of the others nothing is known.
        n_defined: on how many of them the program says something after the swap; only they count.
        n_changed: on how many of those the program says something else than before.
        accuracy, accuracy_changed: the share of the model's answers that are the program's, of the
            defined and of the changed ones, with 95 % Wilson intervals; None where there are none.
        failures: the first few of the shortest.
    """

    variables: tuple[str, ...]
    n_prompts: int
    n_defined: int
    n_changed: int
    accuracy: Interval | None
    accuracy_changed: Interval | None
    failures: tuple[SwapFailure, ...]


def swap_variables(evidence: Evidence, variables: Sequence[str], seed: int = 0) -> Interchange:
    """Swap the sites of these variables, all at once, each from a donor with another value of it.

    Donors have their roles where the base prompt has them, so that positions never move.

    Raises:
        UnknownNameError: no such variable. HypothesisError: one has no site, or no prompt has a
            donor.
    """
    program, prompts = evidence.study.program, evidence.batch.prompts
    _check_variables(program, variables)
    donors = {  # -1 where a prompt has no donor
        name: draw_different(evidence.codes[name], evidence.layouts, [seed, i])
        for i, name in enumerate(variables)
    }
    base = np.flatnonzero(np.all([indices >= 0 for indices in donors.values()], axis=0))
    if not len(base):
        raise HypothesisError(
            f"No two of {len(prompts)} prompts have their roles at the same places and another "
            f"{' or '.join(variables)}: draw more prompts."
        )
    donors = {name: indices[base] for name, indices in donors.items()}
    # All sites of a variable take their value from the same donor.
    sites = {site: donors[name] for name in variables for site in program.variables[name].sites}
    outcome = swap_sites(evidence.activations, base, sites, [evidence.metric])
    answers = evidence.decode_tokens(outcome.top)
    before, expected = _predict_answers(program, prompts, base, donors)
    is_defined = np.array([bool(right) for right in expected])
    differs = np.array([new != old for new, old in zip(expected, before, strict=True)])
    is_changed = is_defined & differs
    is_right = np.array([text in right for text, right in zip(answers, expected, strict=True)])
    wrong = sorted(np.flatnonzero(is_defined & ~is_right), key=lambda row: len(prompts[base[row]]))
    return Interchange(
        variables=tuple(variables),
        n_prompts=len(base),
        n_defined=int(is_defined.sum()),
        n_changed=int(is_changed.sum()),
        accuracy=_measure_accuracy(is_right, is_defined),
        accuracy_changed=_measure_accuracy(is_right, is_changed),
        failures=tuple(
            SwapFailure(
                prompts[base[row]],
                tuple(prompts[indices[row]] for indices in donors.values()),
                expected[row],
                answers[row],
            )
            for row in wrong[:_MOST_FAILURES]
        ),
    )


def _check_variables(program: Program, variables: Sequence[str]) -> None:
    for name in variables:
        if name not in program.variables:
            raise unknown_name("variable", name, program.variables)
        if not program.variables[name].sites or name == program.output:
            raise HypothesisError(
                f"{name!r} has no site in the model whose value could be swapped."
            )


def _predict_answers(
    program: Program,
    prompts: Sequence[Prompt],
    base: Int[np.ndarray, " n"],
    donors: Mapping[str, Int[np.ndarray, " n"]],
) -> tuple[Answers, Answers]:
    """What the program says on the base prompts, and with the donors' values of the variables."""
    before, after = [], []
    for row, prompt in enumerate(prompts[i] for i in base):
        given = {
            name: program.compute_values(prompts[indices[row]])[name]
            for name, indices in donors.items()
        }
        before.append(program.compute_answers(prompt))
        after.append(program.compute_answers(prompt, given))
    return before, after


def draw_different(
    codes: Int[np.ndarray, " pool"], layouts: Int[np.ndarray, " pool"], seed: Sequence[int]
) -> Int[np.ndarray, " pool"]:
    """For each prompt another one of its layout and of another class; -1 where there is none.

    All such prompts are equally likely.
    """
    donors = np.full(len(codes), -1, np.int64)
    draws = np.random.default_rng(seed).random(len(codes))
    for layout in np.unique(layouts):
        # The members of a layout, class by class: a prompt's own class is a gap to be stepped over.
        members = np.flatnonzero(layouts == layout)
        members = members[np.argsort(codes[members], kind="stable")]
        own = codes[members]
        start, stop = np.searchsorted(own, own, "left"), np.searchsorted(own, own, "right")
        n_others = len(members) - (stop - start)
        rank = (draws[members] * n_others).astype(np.int64)
        rank = np.where(rank >= start, rank + stop - start, rank)
        has_donor = n_others > 0
        donors[members[has_donor]] = members[rank[has_donor]]
    return donors


def _measure_accuracy(
    is_right: Bool[np.ndarray, " n"], counts: Bool[np.ndarray, " n"]
) -> Interval | None:
    """The share of right answers among those that count; None where none does."""
    if not counts.any():
        return None
    return estimate_proportion(int(is_right[counts].sum()), int(counts.sum()))
