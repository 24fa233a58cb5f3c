"""Nulls: the hypothesis's own tree with variables that say nothing, or something else.

A crude hypothesis can recover much of the loss: only one that recovers more than its nulls has said
anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.scrubbing.allowed import measure_allowed
from circuitgraph.hypotheses.scrubbing.sampling import Indices, Mode, Sampler, make_generator
from circuitgraph.hypotheses.scrubbing.trials import ScrubTrial, replace_codes

UNCONDITIONAL = "all donors drawn without condition"
PERMUTED = "variables exchanged among the sites"
RANDOM = "random functions with classes of the same sizes"

_TRIES = 200  # random exchanges of variables, of which the best is taken
_COMPARED = 64  # references whose donors tell whether an exchange asks for others


@dataclass(frozen=True)
class Exchange:
    """Every variable with another one's classes.

    Attributes:
        taken_from: for each variable the one whose classes it is given; empty if no exchange says
            anything else than the hypothesis does.
        why_none: why not, in words.
    """

    taken_from: Mapping[str, str]
    why_none: str = ""

    def exchange_codes(self, codes: Mapping[str, Indices]) -> dict[str, Indices]:
        """The classes of all variables after the exchange."""
        exchanged = {name: codes[other] for name, other in self.taken_from.items()}
        return {**codes, **exchanged}


def make_null_trials(root: TreeNode, sampler: Sampler, exchange: Exchange) -> Iterator[ScrubTrial]:
    """The hypothesis's own tree with no conditions, with exchanged ones, and with random ones."""
    below_root = [node for node in root.walk() if node.path != root.path]
    variables = sorted({node.variable for node in below_root})
    yield ScrubTrial(
        ("null", UNCONDITIONAL), root, sampler, {node.path: "free" for node in below_root}
    )
    if exchange.taken_from:
        exchanged = replace_codes(sampler, exchange.exchange_codes(sampler.codes))
        yield ScrubTrial(("null", PERMUTED), root, exchanged)
    shuffled = shuffle_values(sampler.codes, variables, sampler.seed)
    yield ScrubTrial(("null", RANDOM), root, replace_codes(sampler, shuffled))


def choose_exchange(root: TreeNode, sampler: Sampler) -> Exchange:
    """An exchange of variables that says something else than the hypothesis.

    Of many random exchanges the one is taken that gives the most variables classes that are not
    their own, the first of those that are equally good. Left aside are those whose donors are,
    nearly all, donors that the hypothesis allows (see `measure_allowed`), nearer to all than to the
    share among donors that are drawn without condition. Such an exchange says what the hypothesis
    says: variables may be copies of each other, or say the same in more or less detail.
    """
    variables = sorted({node.variable for node in root.walk() if node.path != root.path})
    kinds = {name: number_classes(sampler.codes[name]).tobytes() for name in variables}
    if len(set(kinds.values())) == 1:
        return Exchange({}, "all variables have the same classes of prompts")
    most_allowed = _choose_bound(root, sampler)
    most_changed, chosen, least_allowed = 0, Exchange({}), 1.0
    for n_changed, exchange in _draw_exchanges(sampler.seed, kinds):
        if n_changed > most_changed:
            allowed = _measure_exchange(root, sampler, exchange)
            least_allowed = min(least_allowed, allowed)
            if allowed < most_allowed:
                most_changed, chosen = n_changed, exchange
    if chosen.taken_from:
        return chosen
    return Exchange(
        {},
        f"whatever is exchanged, at least {least_allowed:.0%} of the donors are donors that the "
        "hypothesis allows: its variables say the same in more or less detail, or most prompts "
        "have no donor but themselves",
    )


def _draw_exchanges(seed: int, kinds: Mapping[str, bytes]) -> Iterator[tuple[int, Exchange]]:
    """Random exchanges, each once, with how many variables get classes that are not their own.

    Args:
        kinds: the classes of each variable.
    """
    # The keys of the generators are part of every stored result: they stay as they are.
    generator, variables = make_generator(seed, "exchanged"), list(kinds)
    tried: set[tuple[bytes, ...]] = set()
    for _ in range(_TRIES):
        order = [variables[int(i)] for i in generator.permutation(len(variables))]
        classes = tuple(kinds[name] for name in order)
        if classes not in tried:
            tried.add(classes)
            n_changed = sum(kinds[a] != kinds[b] for a, b in zip(variables, order, strict=True))
            yield n_changed, Exchange(dict(zip(variables, order, strict=True)))


def _choose_bound(root: TreeNode, sampler: Sampler) -> float:
    """Half way between the hypothesis's own donors, all allowed, and unconditional ones."""
    references = _choose_references(sampler)
    free: dict[Path, Mode] = {node.path: "free" for node in root.walk() if node.path != root.path}
    donors = sampler.draw_donors(root, references, modes=free)
    return (1 + measure_allowed(root, sampler, references, donors)) / 2


def _measure_exchange(root: TreeNode, sampler: Sampler, exchange: Exchange) -> float:
    """What share of an exchange's donors the hypothesis allows."""
    references = _choose_references(sampler)
    exchanged = replace_codes(sampler, exchange.exchange_codes(sampler.codes))
    return measure_allowed(root, sampler, references, exchanged.draw_donors(root, references))


def _choose_references(sampler: Sampler) -> Indices:
    return np.arange(min(_COMPARED, len(sampler)))


def shuffle_values(
    codes: Mapping[str, Indices], variables: Sequence[str], seed: int
) -> dict[str, Indices]:
    """Every variable with its values dealt out anew: classes of the same sizes, without meaning."""
    shuffled = {
        name: make_generator(seed, "shuffled", name).permutation(codes[name]) for name in variables
    }
    return {**codes, **shuffled}
