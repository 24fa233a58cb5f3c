"""The settings of a search as the command line gives them: options for the common ones, ``--set``
for all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from circuitgraph.errors import ArgumentError


def gathered(
    options: Mapping[str, Any], assignments: Sequence[str], flag: str = "--set"
) -> dict[str, Any]:
    """The settings that were given; what was not given is left to the algorithm's own defaults.

    Args:
        options: by the setting's name; None where an option was not given.
        assignments: each NAME=VALUE.
        flag: the option that they were given with, for messages.

    Raises:
        ArgumentError: an assignment that cannot be read, or a setting that was given twice.
    """
    settings = {name: value for name, value in options.items() if value is not None}
    for text in assignments:
        name, value = _assignment(text, flag)
        if name in settings:
            raise ArgumentError(
                f"The setting {name!r} was given twice, the second time by {flag} {text!r}."
            )
        settings[name] = value
    return settings


def _assignment(text: str, flag: str) -> tuple[str, Any]:
    """A name and its value: as TOML writes it, or a bare word."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value:
        raise ArgumentError(
            f"{flag} {text!r} cannot be read: expected NAME=VALUE, such as {flag} steps=100."
        )
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ArgumentError(
            f"{flag} {text!r} cannot be read: {name!r} is not the name of a setting."
        )
    return name.replace("-", "_"), _value(f"{flag} {text!r}", value)


def _value(assignment: str, text: str) -> Any:
    try:
        content = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        content = {"value": text} if re.fullmatch(r"[A-Za-z][\w-]*", text) else {}
    if content.keys() != {"value"}:  # more of them, if it has several lines
        raise ArgumentError(
            f"{assignment} cannot be read: {text!r} is no number, truth value (true, false), word "
            "or list."
        )
    return content["value"]


def read_thresholds(text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas.

    Raises:
        ArgumentError: a part that is not a number, or numbers that are no curve's thresholds.
    """
    if text is None:
        return None
    from circuitgraph.discovery.sweep import check_thresholds

    try:
        thresholds = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError(
            f"--thresholds is {text!r}, but must be numbers between commas, such as 0.01,0.03,0.1."
        ) from error
    check_thresholds(thresholds)
    return thresholds


def with_table(values: Iterable[tuple[str, Any]]) -> list[str]:
    """A TOML table of settings as assignments."""
    return [f"{name}={_toml(value)}" for name, value in values]


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value).lower()
