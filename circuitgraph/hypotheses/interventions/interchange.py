"""Interchange interventions: a site takes its value from another prompt, and the model must follow
the program.

Interchange intervention accuracy is that of Geiger et al. (2021, arXiv:2106.02997): how often the
model, with the
sites of some variables taken from donors, says what the program says with the donors' values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.catalog.records import Interval
from circuitgraph.engine.tree.swap import swap
from circuitgraph.errors import HypothesisError, unknown_name
from circuitgraph.evaluation.intervals import estimate_proportion
from circuitgraph.hypotheses.evidence import Evidence
from circuitgraph.hypotheses.prompt import Prompt

_SHOWN = 3  # failures that are kept


@dataclass(frozen=True)
class Failure:
    """One swap after which the model did not say what the program says."""

    base: Prompt
    donors: tuple[Prompt, ...]
    expected: frozenset[str]
    said: str

    def __str__(self) -> str:
        donors = "\n".join(f"donor:  {donor!r}" for donor in self.donors)
        expected = " or ".join(sorted(self.expected)[:4])
        return (
            f"prompt: {self.base!r}\n{donors}\nthe program says {expected}, the model {self.said}"
        )


@dataclass(frozen=True)
class Interchange:
    """What came of swapping some variables.

    Attributes:
        variables: those swapped at once, each from a donor of its own that has another value.
        n_prompts: base prompts that have such donors; of the others nothing is known.
        n_defined: how many of them the program says something about after the swap; only they
            count.
        n_changed: how many of those the program says something else about than before.
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
    failures: tuple[Failure, ...]


def interchange(evidence: Evidence, variables: Sequence[str], seed: int = 0) -> Interchange:
    """Swap the sites of these variables, all at once, each from a donor with another value of it.

    Donors have their roles where the base prompt has them, so that positions never move.

    Raises:
        UnknownNameError: no such variable. HypothesisError: one has no site, or no prompt has a
            donor.
    """
    program = evidence.study.program
    for name in variables:
        if name not in program.variables:
            raise unknown_name("variable", name, program.variables)
        if not program.variables[name].sites or name == program.output:
            raise HypothesisError(
                f"{name!r} has no site in the model whose value could be swapped."
            )
    codes, layouts = evidence.codes, evidence.layouts
    donors = {name: different(codes[name], layouts, [seed, i]) for i, name in enumerate(variables)}
    base = np.flatnonzero(np.all([found >= 0 for found in donors.values()], axis=0))
    if not len(base):
        raise HypothesisError(
            f"No two of {len(layouts)} prompts have their roles at the same places and another "
            f"{' or '.join(variables)}: draw more prompts."
        )
    sites = {
        site: donors[name][base] for name in variables for site in program.variables[name].sites
    }
    outcome = swap(evidence.pool, base, sites, [evidence.metric])
    said = evidence.texts(outcome.top)
    prompts = evidence.batch.prompts
    expected, before = [], []
    for i in base:
        given = {name: program.compute_values(prompts[donors[name][i]])[name] for name in variables}
        expected.append(program.compute_answers(prompts[i], given))
        before.append(program.compute_answers(prompts[i]))
    defined = np.array([bool(answers) for answers in expected])
    changed = defined & np.array([new != old for new, old in zip(expected, before, strict=True)])
    right = np.array([text in answers for text, answers in zip(said, expected, strict=True)])
    wrong = sorted(np.flatnonzero(defined & ~right), key=lambda row: len(prompts[base[row]]))[
        :_SHOWN
    ]
    return Interchange(
        tuple(variables),
        len(base),
        int(defined.sum()),
        int(changed.sum()),
        _share(right, defined),
        _share(right, changed),
        tuple(
            Failure(
                prompts[base[row]],
                tuple(prompts[d[base[row]]] for d in donors.values()),
                expected[row],
                said[row],
            )
            for row in wrong
        ),
    )


def different(
    codes: Int[np.ndarray, " pool"], layouts: Int[np.ndarray, " pool"], seed: Sequence[int]
) -> Int[np.ndarray, " pool"]:
    """For each prompt another of the same layout and another class, each equally likely; -1 where
    there is none.
    """
    found = np.full(len(codes), -1, np.int64)
    draws = np.random.default_rng(seed).random(len(codes))
    for layout in np.unique(layouts):
        members = np.flatnonzero(layouts == layout)
        members = members[np.argsort(codes[members], kind="stable")]
        own = codes[members]
        start, stop = np.searchsorted(own, own, "left"), np.searchsorted(own, own, "right")
        others = len(members) - (stop - start)
        rank = (draws[members] * others).astype(np.int64)
        rank = np.where(rank >= start, rank + stop - start, rank)
        has = others > 0
        found[members[has]] = members[rank[has]]
    return found


def _share(right: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"]) -> Interval | None:
    return (
        estimate_proportion(int(right[counted].sum()), int(counted.sum()))
        if counted.any()
        else None
    )
