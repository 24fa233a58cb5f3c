"""What can go wrong, and how we say it.

Every error that a user can cause derives from `CircuitGraphError`; the command line prints its
message and
exits with 2. A message names what was given, what was expected and what to do, and lists all
problems at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence


class CircuitGraphError(Exception):
    """Base of every error that has a message for the user."""


class UnknownNameError(CircuitGraphError, LookupError):
    """A name (of a task, metric, edge, ...) that does not exist; the message suggests the nearest
    ones.
    """


class ArgumentError(CircuitGraphError, ValueError):
    """An argument outside what makes sense. Check the value named in the message against the stated
    range.
    """


class GraphError(CircuitGraphError, ValueError):
    """Circuits of different graphs were combined, or an edge is not legal in this graph."""


class ModelError(CircuitGraphError):
    """A checkpoint cannot be found, read, or compiled exactly. Nothing is guessed: the offending
    part is named.
    """


class DataError(CircuitGraphError, ValueError):
    """Prompts that cannot be used: wrong format, unequal lengths, unknown or several tokens, too
    long.
    """


class ProgramError(CircuitGraphError, ValueError):
    """A program that no transformer can be made of, or a prompt on which it is not defined; names
    the expression.
    """


class HypothesisError(CircuitGraphError, ValueError):
    """A hypothesis that cannot be tested as it is written; names the file and line of every
    problem.
    """


class OutputError(CircuitGraphError, OSError):
    """Results cannot be written where they should go: folder read-only, full, or already taken."""


class SearchError(CircuitGraphError, RuntimeError):
    """A search met a value it cannot decide on, such as a metric that is not finite."""


class MissingExtraError(CircuitGraphError, ImportError):
    """Something that is installed only when asked for is not there; the message says how to install
    it.
    """


def unknown_name(kind: str, given: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """The error for a name that is not among ``known``, with the nearest matches (or all, if few)."""
    known = sorted(known)
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


def list_problems(title: str, problems: Sequence[str], limit: int = 20) -> str:
    """One message out of many problems, so that a user can mend all of them at once."""
    shown = [f"  - {problem}" for problem in problems[:limit]]
    if len(problems) > limit:
        shown.append(f"  ... and {len(problems) - limit} more")
    return "\n".join([title, *shown])


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


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """``value`` itself, if it is one of the choices."""
    choices = list(choices)
    if value not in choices:
        raise ArgumentError(f"{name} is {value!r}: expected one of {', '.join(choices)}.")
    return value


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line without its full stop; two where the first ends
    in a colon.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    shown = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
    return shown.removesuffix(".")
