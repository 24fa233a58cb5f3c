"""A property as an object: the cases that it draws from prompts, and its result on each case.

Each property of the library is a class with a decorator; the summary of its docstring says what it
asserts.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from circuitgraph.choices import Choices
from circuitgraph.errors import CircuitGraphError, HypothesisError, list_problems, unknown_name
from circuitgraph.hypotheses.diagnostics import Verdict, format_error, format_location, locate_error
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.relabel import Relabelling
from circuitgraph.registry import Registry, read_summary

N_CASES = 32  # cases of one example of a hunt, at most
CLASS_OF_ONE = "class of one"  # note of a case whose prompt is its own donor


@dataclass(frozen=True, repr=False)
class PropertyCase:
    """A prompt, with whatever else a property draws for it.

    Attributes:
        edges: numbers of edges of the graph.
        edges_text: those edges in words.
        notes: what is counted over all cases, such as "class of one".
    """

    prompt: Prompt
    donor: Prompt | None = None
    relabel: Relabelling | None = None
    edges: tuple[int, ...] = ()
    edges_text: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The texts alone."""
        return " and ".join(repr(p.text) for p in (self.prompt, self.donor) if p is not None)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which would print all fields of a dataclass."""
        printer.text(repr(self))

    def __str__(self) -> str:
        parts = {
            "prompt": repr(self.prompt),
            "donor": self.donor and repr(self.donor),
            "relabel": self.relabel,
            "edges": self.edges_text or None,
        }
        return "\n".join(
            f"{name + ':':8} {part}" for name, part in parts.items() if part is not None
        )


@dataclass(frozen=True)
class CaseResult:
    """What a property says of one case.

    Attributes:
        failure: what was expected and what the model said; empty if the case obeys the property.
        drop: how far the case is from obeying, or what it cost; the hunt climbs on it.
        vacuous: why the property says nothing of this case.
        error: whether the failure is an error in the user's code.
    """

    failure: str = ""
    drop: float = 0.0
    vacuous: str = ""
    error: bool = False


class PropertyCheck(ABC):
    """A property of one hypothesis.

    Attributes:
        n_about: how many variables ``of=`` must name.
        n_bytes: how many bytes of choices a case takes beside its prompt.
    """

    n_about = 0
    n_bytes = 0

    def __init__(self, context: PropertyContext, of: tuple[str, ...]) -> None:
        self.context, self.of = context, of

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        """The case of a prompt."""
        del rng
        return PropertyCase(prompt)

    @abstractmethod
    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        """What the property says of each case, of at most `N_CASES` at once."""


class ExistenceCheck(PropertyCheck):
    """A property of all prompts together."""

    @abstractmethod
    def reach_verdict(self) -> Verdict:
        """Whether it holds."""

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        """Nothing: it is no property of one prompt."""
        return [CaseResult(vacuous="not about one prompt") for _ in cases]


library: Registry[type[PropertyCheck]] = Registry("property", "circuitgraph.hypotheses.properties")
USER_KINDS = ("holds", "never")  # properties that are a user's function


def describe_property(name: str) -> tuple[str, dict[str, Any]]:
    """What a property of the library asserts, and its settings with their defaults."""
    kind = library[name]
    return read_summary(kind), {
        p.name: None if p.default is p.empty else p.default for p in list_settings(kind)
    }


def make_check(context: PropertyContext, property: Property) -> PropertyCheck:
    """The check that a hypothesis declares by name.

    Raises:
        UnknownNameError: the library has no such property, or there is no such variable.
        HypothesisError: its settings, or what it is said to be about, are wrong; all problems at
            once.
    """
    kind = library[property.kind]
    allowed = {p.name: p for p in list_settings(kind)}
    problems = [
        str(unknown_name("setting", name, allowed))
        for name in property.settings
        if name not in allowed
    ]
    problems += [
        f"it needs {name}="
        for name, p in allowed.items()
        if p.default is p.empty and name not in property.settings
    ]
    if len(property.of) != kind.n_about:
        wanted = "of= one variable" if kind.n_about else "nothing in of="
        problems.append(f"it takes {wanted}, not {', '.join(property.of) or 'none'}")
    if problems:
        raise HypothesisError(
            list_problems(
                f"{property.location}: the property {property.kind!r} cannot be tested:", problems
            )
        )
    for name in property.of:
        context.find_variable(name)
    return kind(context, property.of, **property.settings)


def run_check(
    check: PropertyCheck, property: Property, cases: Sequence[PropertyCase]
) -> list[CaseResult]:
    """The results of a check. An error in the user's own functions is a result as well."""
    try:
        return check.check_cases(cases)
    except CircuitGraphError:
        raise
    except Exception as error:
        where = locate_error(error, property.location.file)
        if where is None:
            raise
        if len(cases) > 1:  # one by one, to learn which case it is
            return [result for case in cases for result in run_check(check, property, [case])]
        return [CaseResult(f"{format_location(where)}: {format_error(error)}", error=True)]


def list_settings(kind: type[PropertyCheck]) -> list[inspect.Parameter]:
    """The settings of a property, as parameters with their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


def check_number(name: str, value: Any) -> float:
    """The value of a setting that must be a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise HypothesisError(f"{name} is {value!r}, but must be a number of 0 or more.")
    return float(value)
