"""Strategies for the `hypothesis` library, derived from a task's grammar: prompts, and prompts with their donors.

They shrink towards the shortest prompts and the first words. Nothing is filtered: donors are taken from classes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from hypothesis import event
from hypothesis import strategies as st

from circuitgraph.errors import unknown_name
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.chooser import Chooser
from circuitgraph.hypotheses.properties.supply import Supply
from circuitgraph.hypotheses.study import Study

T = TypeVar("T")
MOST = 32  # cases of one example
_BUDGET = 4096  # bytes of one example; hypothesis gives up at twice as many
_STOP = st.integers(0, 63)  # 0 ends an example

CLASS_OF_ONE = "class of one"


def prompts(study: Study) -> st.SearchStrategy[Prompt]:
    """Prompts that the hypothesis is about."""
    supply = Supply(study)
    return undisturbed(chosen(supply.draw, supply.bytes_per_prompt))


def pairs(study: Study, variable: str, *, equal: bool = True) -> st.SearchStrategy[tuple[Prompt, Prompt]]:
    """A reference, and a donor on which the variable has an equal value, or another.

    Where the pool has no donor the reference is its own, and the event "class of one" says so.

    Raises:
        UnknownNameError: no such variable.
    """
    if variable not in study.program.variables:
        raise unknown_name("variable", variable, study.program.variables)
    supply = Supply(study)
    donors = supply.donors(variable, same_layout=study.hypothesis.align == "index")

    def draw(rng: np.random.Generator) -> tuple[Prompt, Prompt]:
        reference = supply.draw(rng)
        donor = donors.draw(rng, reference, equal=equal)
        if donor is None or donor.ids == reference.ids:
            event(CLASS_OF_ONE)
        return reference, donor or reference

    return undisturbed(chosen(draw, supply.bytes_per_prompt + 4))


def chosen(draw_one: Callable[[np.random.Generator], T], n_bytes: int) -> st.SearchStrategy[T]:
    """What a function draws with a generator, as a strategy.

    Args:
        n_bytes: about as many as its choices take.
    """

    @st.composite
    def strategy(draw: Any) -> T:
        return draw_one(Chooser.of(draw, n_bytes))

    return strategy()


def batches(one: st.SearchStrategy[T], n_bytes: int) -> st.SearchStrategy[list[T]]:
    """Lists of up to `MOST` cases, nearly always of many; a failing list shrinks to one case.

    Args:
        n_bytes: what a case takes, so that long ones make shorter lists.
    """
    most = max(1, min(MOST, _BUDGET // (n_bytes + 2)))

    @st.composite
    def one_more(draw: Any) -> list[T]:  # one span of choices, so that deleting it deletes one case
        return [draw(one)] if draw(_STOP) else []

    more = one_more()

    @st.composite
    def several(draw: Any) -> list[T]:
        found = [draw(one)]
        while len(found) < most and (another := draw(more)):
            found += another
        return found

    return undisturbed(several())


def undisturbed(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The strategy, leaving the state of Python's `random` as it was.

    Type checkers that run along choose what to check by it, which hypothesis takes for a strategy that is random.
    """

    @st.composite
    def quiet(draw: Any) -> T:
        before = random.getstate()
        try:
            return draw(strategy)
        finally:
            random.setstate(before)

    return quiet()
