"""The high-level program of a hypothesis: its functions, run without any network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from jaxtyping import Int

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.language import Hypothesis, Rival, Variable
from circuitgraph.hypotheses.prompt import Prompt


@dataclass(frozen=True)
class Program:
    """Variables by name, and which of them is the output.

    Attributes:
        dropped: variables whose sites claim nothing; their functions still say what others compute.
    """

    variables: Mapping[str, Variable]
    output: str
    dropped: frozenset[str] = frozenset()

    @classmethod
    def from_hypothesis(cls, hypothesis: Hypothesis) -> Program:
        """The program of a hypothesis that `checking` has not refused."""
        if hypothesis.output_variable is None:
            raise HypothesisError(
                f"{hypothesis.name!r} has no output: declare one with @H.output(at=logits @ role)."
            )
        return cls({v.name: v for v in hypothesis.variables}, hypothesis.output_variable.name)

    def with_rival(self, rival: Rival) -> Program:
        """The program with a rival's changes."""
        variables = dict(self.variables)
        for name, function in rival.replace.items():
            variables[name] = replace(variables[name], function=function)
        for name, sites in rival.move.items():
            variables[name] = replace(variables[name], sites=sites)
        return Program(variables, self.output, self.dropped | set(rival.drop))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names of the variables, parents first.

        Raises:
            HypothesisError: variables need each other in a circle.
        """
        try:
            return tuple(
                TopologicalSorter({n: v.parents for n, v in self.variables.items()}).static_order()
            )
        except CycleError as error:
            raise HypothesisError(
                f"These variables need each other: {' -> '.join(error.args[1])}."
            ) from error

    def compute_values(
        self, prompt: Prompt, given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Every variable's value on a prompt.

        Args:
            given: values that are not computed; the variables after them follow.
        """
        given = given or {}
        values: dict[str, Any] = {}
        for name in self.order:
            if name in given:
                values[name] = given[name]
            else:
                values[name] = self.variables[name].call_with(prompt, values)
        return values

    def compute_answers(
        self, prompt: Prompt, given: Mapping[str, Any] | None = None
    ) -> frozenset[str]:
        """What the model should say on a prompt, any of these; nothing where the program is silent.

        Args:
            given: as in `compute_values`.
        """
        return collect_answers(self.compute_values(prompt, given)[self.output])

    def compute_codes(self, prompts: Sequence[Prompt]) -> dict[str, Int[np.ndarray, " prompts"]]:
        """For each variable the number of its class on each prompt: equal numbers, equal values."""
        rows = [self.compute_values(prompt) for prompt in prompts]
        return {name: number_classes([row[name] for row in rows]) for name in self.order}


def number_classes(values: Iterable[Any]) -> Int[np.ndarray, " n"]:
    """Numbers for values, equal for equal values, in the order of their first appearance."""
    numbers: dict[Any, int] = {}
    return np.array(
        [numbers.setdefault(make_key(value), len(numbers)) for value in values], np.int64
    )


def make_key(value: Any) -> Any:
    """What stands for a value in comparisons: small arrays and sets are compared by their content.

    Raises:
        TypeError: the value cannot be hashed.
    """
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, set):  # a program may say that any of these answers is right
        return frozenset(value)
    hash(value)  # raises for what cannot be a key
    return value


def collect_answers(value: Any) -> frozenset[str]:
    """An output's value as the set of texts that it allows; None allows nothing."""
    if value is None:
        return frozenset()
    if isinstance(value, (set, frozenset, list, tuple)):
        return frozenset(str(item).strip() for item in value)
    return frozenset([str(value).strip()])


def format_value(value: Any) -> str:
    """A value as text that is the same in every run: sets have no order of their own."""
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(format_value, value))) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(format_value, value)) + ")"
    return str(value)
