"""Names of tokens and of output classes, for models that no tokenizer comes with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from circuitgraph.errors import ModelError, list_problems

OUTPUTS = "output classes"
_MOST = 5  # problems of one kind that a message lists


def check_names(field: str, names: Any, size: int, what: str) -> tuple[str, ...] | None:
    """The names in the order of ids; None if there are none.

    Args:
        field: what the list is called where it was given.
        size: how many names there must be.
        what: that many what, in words.

    Raises:
        ModelError: not a list of that many names, or a name that is empty, holds whitespace or
            comes twice.
    """
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ModelError(
            f"{field} is a {type(names).__name__}; it must be a list of names, one for each of "
            f"{size} {what}, in the order of their ids."
        )
    if len(names) != size:
        raise ModelError(
            f"{field} has {len(names)} names, but the model has {size} {what}. Give one name for "
            "each, in the order of their ids."
        )
    if problems := _find_problems(names):
        title = f"{field} holds names that cannot be used:"
        more = [f"and {len(problems) - _MOST} more"] if len(problems) > _MOST else []
        raise ModelError(list_problems(title, problems[:_MOST] + more))
    return tuple(names)


def _find_problems(names: Sequence[Any]) -> list[str]:
    problems = []
    counts = Counter(name for name in names if isinstance(name, str))
    for number, name in enumerate(names):
        if not isinstance(name, str):
            problems.append(f"{number}: {name!r} is a {type(name).__name__}, not a string")
        elif not name:
            problems.append(f"{number}: the name is empty")
        elif any(character.isspace() for character in name):
            problems.append(f"{number}: {name!r} holds whitespace")
        elif counts[name] > 1 and names.index(name) != number:
            problems.append(f"{number}: {name!r} is the name of {names.index(name)} too")
    return problems
