"""What can go wrong, and how we say it.

Every error that a user can cause derives from `CircuitGraphError`; the command line prints the
message of such an error and exits with 2. A message names what was given, what was expected and
what to do, and lists all problems at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from circuitgraph.printable import NAME, make_lines_printable, make_printable, shorten_text


class CircuitGraphError(Exception):
    """Base of every error that has a message for the user."""


class UnknownNameError(CircuitGraphError, LookupError):
    """A name (of a task, metric, edge, ...) that does not exist; the message suggests near ones."""


class ArgumentError(CircuitGraphError, ValueError):
    """An argument outside what makes sense; the message names the value and what is allowed."""


class GraphError(CircuitGraphError, ValueError):
    """Circuits of different graphs were combined, or an edge is not legal in this graph."""


class ModelError(CircuitGraphError):
    """A checkpoint cannot be found, read, or compiled exactly; the message names the wrong part."""


class DataError(CircuitGraphError, ValueError):
    """Prompts that cannot be used: a wrong format, unequal lengths, unknown or too many tokens."""


class ProgramError(CircuitGraphError, ValueError):
    """A program that cannot be compiled or run on a prompt; the message names the expression."""


class HypothesisError(CircuitGraphError, ValueError):
    """A hypothesis that cannot be tested as written; the message names file and line."""


class OutputError(CircuitGraphError, OSError):
    """Results cannot be written where they should go: folder read-only, full, or already taken."""


class SearchError(CircuitGraphError, RuntimeError):
    """A search met a value it cannot decide on, such as a metric that is not finite."""


class MissingExtraError(CircuitGraphError, ImportError):
    """An optional package is not installed; the message says how to install it."""


def unknown_name(kind: str, given: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """Make the error for a name that is not among ``known``, with near names (or all, if few)."""
    known, given = sorted(known), shorten_text(given, NAME)
    nearest = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if nearest:
        advice = "Did you mean " + " or ".join(repr(name) for name in nearest) + "?"
    elif not known:
        advice = f"No {kind} is available."
    elif len(known) <= 12:
        advice = "Known: " + ", ".join(known) + "."
    else:
        advice = f"There are {len(known)}, from {known[0]!r} to {known[-1]!r}."
    return UnknownNameError(" ".join(filter(None, [f"Unknown {kind} {given!r}. {advice}", hint])))


def list_problems(
    title: str, problems: Sequence[str], limit: int = 20, *, several_lines: bool = False
) -> str:
    """One message out of many problems, so that a user can mend all of them at once.

    Args:
        several_lines: problems may have several lines; else a newline in a problem is part of
            somebody's name, and is shown as an escape.
    """
    show_problem = make_lines_printable if several_lines else make_printable
    lines = [f"  - {show_problem(problem)}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  ... and {len(problems) - limit} more")
    return "\n".join([title, *lines])


def check_finite(name: str, value: float) -> float:
    """``value`` itself, if it is an ordinary number."""
    if not math.isfinite(value):
        raise ArgumentError(f"{name} is {value}, but must be a finite number.")
    return value


def check_at_least(name: str, value: int, minimum: int) -> int:
    """``value`` itself, if it is not below ``minimum``."""
    if value < minimum:
        raise ArgumentError(f"{name} is {value}, but must be at least {minimum}.")
    return value


def check_between(name: str, value: int, minimum: int, maximum: int) -> int:
    """``value`` itself, if it is neither below ``minimum`` nor above ``maximum``."""
    if check_at_least(name, value, minimum) > maximum:
        raise ArgumentError(f"{name} is {value}, but must be at most {maximum:,}.")
    return value


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """``value`` itself, if it is one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise ArgumentError(f"{name} is {value!r}: expected one of {', '.join(choices)}.")
    return value


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop.

    A line that ends in a colon is joined with the next line.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    message = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
    return make_printable(message).removesuffix(".")
