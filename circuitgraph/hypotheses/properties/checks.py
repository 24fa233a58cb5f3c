"""What a property asks of a prompt, as an object: the cases that it draws, and what it finds on
them.

Each property of the library is a class with a decorator; its docstring's first line says what it
asserts.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuitgraph.errors import CircuitGraphError, HypothesisError, list_problems, unknown_name
from circuitgraph.hypotheses.diagnostics import Verdict, format_error, format_location, locate_error
from circuitgraph.hypotheses.language import Property
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.relabel import Relabelling
from circuitgraph.hypotheses.properties.subject import Subject
from circuitgraph.registry import Registry


@dataclass(frozen=True, repr=False)
class Case:
    """A prompt, with whatever else a property draws for it.

    Attributes:
        edges: numbers of edges of the graph.
        shown: those edges in words.
        notes: what is counted over all cases, such as "class of one".
    """

    prompt: Prompt
    donor: Prompt | None = None
    relabel: Relabelling | None = None
    edges: tuple[int, ...] = ()
    shown: str = ""
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
        }
        parts["edges"] = self.shown or None
        return "\n".join(
            f"{name + ':':8} {what}" for name, what in parts.items() if what is not None
        )


@dataclass(frozen=True)
class Finding:
    """What a property says of one case.

    Attributes:
        failure: what was expected and what the model said; empty if it obeys.
        drop: how far the case is from obeying, or what it cost; the hunt climbs on it.
        vacuous: why it says nothing of this case.
        error: whether the failure is an error in the user's code.
    """

    failure: str = ""
    drop: float = 0.0
    vacuous: str = ""
    error: bool = False


class Check(ABC):
    """A property of one hypothesis.

    Attributes:
        n_about: how many variables ``of=`` must name.
        n_bytes: how many bytes of choices a case takes beside its prompt.
    """

    n_about = 0
    n_bytes = 0

    def __init__(self, subject: Subject, of: tuple[str, ...]) -> None:
        self.subject, self.of = subject, of

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        """The case of a prompt."""
        del rng
        return Case(prompt)

    @abstractmethod
    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        """What it says of each case, at most 32 at once."""


class Existence(Check):
    """A property of all prompts together."""

    @abstractmethod
    def verdict(self) -> Verdict:
        """Whether it holds."""

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        """Nothing: it is no property of one prompt."""
        return [Finding(vacuous="not about one prompt") for _ in cases]


library: Registry[type[Check]] = Registry("property", "circuitgraph.hypotheses.properties")
OWN = ("holds", "never")  # those that a user's function is


def described(name: str) -> tuple[str, dict[str, Any]]:
    """What a property of the library asserts in one line, and its settings with their defaults."""
    kind = library[name]
    return (inspect.getdoc(kind) or "").partition("\n")[0], {
        p.name: None if p.default is p.empty else p.default for p in settings_of(kind)
    }


def check_of(subject: Subject, property: Property) -> Check:
    """The check that a hypothesis declares by name.

    Raises:
        UnknownNameError: the library has no such property, or there is no such variable.
        HypothesisError: its settings, or what it is said to be about, are wrong; all problems at
            once.
    """
    kind = library[property.kind]
    allowed = {p.name: p for p in settings_of(kind)}
    problems = [
        str(unknown_name("setting", name, allowed))
        for name in property.settings
        if name not in allowed
    ]
    lacking = [
        name
        for name, p in allowed.items()
        if p.default is p.empty and name not in property.settings
    ]
    problems += [f"it needs {name}=" for name in lacking]
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
        subject.variable(name)
    return kind(subject, property.of, **property.settings)


def findings(check: Check, property: Property, cases: Sequence[Case]) -> list[Finding]:
    """What a check finds. An error in the user's own functions is a finding as well."""
    try:
        return check.findings(cases)
    except CircuitGraphError:
        raise
    except Exception as error:
        where = locate_error(error, property.location.file)
        if where is None:
            raise
        if len(cases) > 1:
            return [finding for case in cases for finding in findings(check, property, [case])]
        return [Finding(f"{format_location(where)}: {format_error(error)}", error=True)]


def settings_of(kind: type[Check]) -> list[inspect.Parameter]:
    """The settings of a property, as parameters with their defaults."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return [p for p in parameters if p.kind is p.KEYWORD_ONLY]


def number(name: str, value: Any) -> float:
    """A setting that must be a number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise HypothesisError(f"{name} is {value!r}, but must be a number of 0 or more.")
    return float(value)
