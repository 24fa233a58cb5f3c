"""Strategies for the `hypothesis` library, derived from a task's grammar: prompts, and prompts with
their donors.

They shrink towards the shortest prompts and the first words. Nothing is filtered: donors are taken
from classes.
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
from circuitgraph.hypotheses.properties.chooser import Chooser, strings
from circuitgraph.hypotheses.properties.supply import Supply
from circuitgraph.hypotheses.study import Study

T = TypeVar("T")
MOST = 32  # cases of one example
_BUDGET = 4096  # bytes of one example; hypothesis gives up at twice as many

CLASS_OF_ONE = "class of one"


def prompts(study: Study) -> st.SearchStrategy[Prompt]:
    """Prompts that the hypothesis is about."""
    supply = Supply(study)
    return undisturbed(chosen(supply.draw, supply.bytes_per_prompt))


def pairs(
    study: Study, variable: str, *, equal: bool = True
) -> st.SearchStrategy[tuple[Prompt, Prompt]]:
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
    return strings(n_bytes).map(lambda given: draw_one(Chooser.of(given)))


def batches(
    draw_one: Callable[[np.random.Generator], T], n_bytes: int
) -> st.SearchStrategy[list[T]]:
    """Lists of up to `MOST` of what a function draws, nearly always of many; a failing list shrinks
    to one case.

    Each case is one draw, which hypothesis can leave out. A string that begins with a zero ends the
    list.

    Args:
        n_bytes: what a case takes, so that long ones make shorter lists.
    """
    most = max(1, min(MOST, _BUDGET // (n_bytes + 2)))
    strategy = strings(n_bytes + 1)

    @st.composite
    def several(draw: Any) -> list[T]:
        found: list[T] = []
        while len(found) < most:
            given: bytes = draw(strategy)
            if found and not given[0]:
                break
            found.append(draw_one(Chooser.of(given[1:])))
        return found

    return undisturbed(several())


def undisturbed(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The strategy, leaving the state of Python's `random` as it was.

    Type checkers that run along choose what to check by it, which hypothesis takes for a strategy
    that is random.
    """

    @st.composite
    def quiet(draw: Any) -> T:
        before = random.getstate()
        try:
            return draw(strategy)
        finally:
            random.setstate(before)

    return quiet()
