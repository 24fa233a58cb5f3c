"""Strategies for the `hypothesis` library from a task's grammar: prompts, with or without donors.

They shrink towards the shortest prompts and the first words. No prompt is drawn and filtered out:
donors are taken from classes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import event
from hypothesis import strategies as st

from circuitgraph.choices import Choices
from circuitgraph.errors import unknown_name
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import CLASS_OF_ONE, N_CASES
from circuitgraph.hypotheses.properties.chooser import Chooser, byte_strings
from circuitgraph.hypotheses.properties.prompt_source import PromptSource
from circuitgraph.hypotheses.study import Study

T = TypeVar("T")
_MOST_BYTES = 4096  # bytes of one example; hypothesis gives up at twice as many


def prompts(study: Study) -> st.SearchStrategy[Prompt]:
    """Prompts that the hypothesis is about."""
    source = PromptSource(study)
    return _keep_random_state(_draw_from_bytes(source.draw_prompt, source.bytes_per_prompt))


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
    source = PromptSource(study)
    donors = source.group_donors(variable, same_layout=study.hypothesis.align == "index")

    def draw_pair(rng: Choices) -> tuple[Prompt, Prompt]:
        reference = source.draw_prompt(rng)
        donor = donors.draw_donor(rng, reference, equal=equal)
        if donor is None or donor.ids == reference.ids:
            event(CLASS_OF_ONE)
        return reference, donor or reference

    return _keep_random_state(_draw_from_bytes(draw_pair, source.bytes_per_prompt + 4))


def case_lists(draw_one: Callable[[Choices], T], n_bytes: int) -> st.SearchStrategy[list[T]]:
    """Lists of up to `N_CASES` of what a function draws, nearly always of many.

    Each case is one draw, which hypothesis can leave out, so that a failing list shrinks to one
    case. A string that begins with a zero ends the list.

    Args:
        n_bytes: what a case takes, so that long ones make shorter lists.
    """
    most = max(1, min(N_CASES, _MOST_BYTES // (n_bytes + 2)))
    strings = byte_strings(n_bytes + 1)

    @st.composite
    def draw_list(draw: Any) -> list[T]:
        cases: list[T] = []
        while len(cases) < most:
            given: bytes = draw(strings)
            if cases and not given[0]:
                break
            cases.append(draw_one(Chooser.from_bytes(given[1:])))
        return cases

    return _keep_random_state(draw_list())


def _draw_from_bytes(draw_one: Callable[[Choices], T], n_bytes: int) -> st.SearchStrategy[T]:
    """What a function draws, as a strategy.

    Args:
        n_bytes: about as many as its choices take.
    """
    return byte_strings(n_bytes).map(lambda given: draw_one(Chooser.from_bytes(given)))


def _keep_random_state(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The strategy, leaving the state of Python's `random` as it was.

    Type checkers that run along choose what to check by it, which hypothesis takes for a strategy
    that is random.
    """

    @st.composite
    def draw_quietly(draw: Any) -> T:
        before = random.getstate()
        try:
            return draw(strategy)
        finally:
            random.setstate(before)

    return draw_quietly()
