"""What every analysis is: a function that gives a `Reading`, and a decorator that registers it.

The function's parameters say what it needs, by their names: ``model``, ``prompts``, ``task`` and
``bar`` are given to it; all others are keyword-only, and are its settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from circuitgraph.catalog.analysis_record import Reading
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.foreign import convert_settings
from circuitgraph.registry import Registry, read_summary

GIVEN = ("model", "prompts", "task", "bar")


@dataclass(frozen=True)
class Analysis:
    """A registered method.

    Attributes:
        source: the paper it is from.
        cannot_tell: what nobody should conclude from its numbers, in a sentence.
    """

    name: str
    function: Callable[..., Reading]
    source: str
    cannot_tell: str

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.function)

    @property
    def given(self) -> frozenset[str]:
        """Which of `GIVEN` the function takes."""
        return frozenset(inspect.signature(self.function).parameters) & set(GIVEN)

    @property
    def needs_prompts(self) -> bool:
        """Whether it looks at prompts, not at weights alone."""
        return not self.given.isdisjoint(("prompts", "task"))

    @property
    def defaults(self) -> dict[str, Any]:
        """All settings with their defaults; None where one must be given."""
        return {p.name: None if p.default is p.empty else p.default for p in self._list_settings()}

    def fill_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """All settings: those given, in their types, and defaults.

        Raises:
            UnknownNameError: the method has no such setting.
            ArgumentError: one of another type, a seed below 0, or none where one must be given.
        """
        hints = get_type_hints(self.function)
        owner = f"setting of analysis {self.name!r}"
        made = self.defaults | convert_settings(owner, self.defaults, hints, settings)
        for p in self._list_settings():
            if p.default is p.empty and p.name not in settings:
                raise ArgumentError(f"The analysis {self.name!r} needs the setting {p.name!r}.")
        if "seed" in made:
            check_at_least("seed", made["seed"], 0)
        return made

    def read(self, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Reading:
        """Run the function.

        Args:
            given: of `GIVEN`, at least those that it takes.
            settings: all, as of `fill_settings`.
        """
        return self.function(**{name: given[name] for name in self.given}, **settings)

    def _list_settings(self) -> list[inspect.Parameter]:
        parameters = inspect.signature(self.function).parameters.values()
        return [p for p in parameters if p.name not in GIVEN]


analyses: Registry[Analysis] = Registry("analysis", "circuitgraph.analysis")

ReadingFunction = TypeVar("ReadingFunction", bound=Callable[..., Reading])


def analysis(
    name: str, *, source: str, cannot_tell: str
) -> Callable[[ReadingFunction], ReadingFunction]:
    """Register a function as a method of ``circuitgraph analyze``; see docs/analyses.md.

    Args:
        source, cannot_tell: as in `Analysis`.
    """

    def decorate(function: ReadingFunction) -> ReadingFunction:
        analyses.add(name, Analysis(name, function, source, cannot_tell))
        return function

    return decorate
