"""The settings of a search: options for the common ones, ``--set NAME=VALUE`` for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.foreign import parse_toml
from circuitgraph.printable import NAME, shorten_text

_WORD = r"[A-Za-z./~][\w./~@+-]*"


def gather_settings(
    options: Mapping[str, Any], assignments: Sequence[str], flag: str = "--set"
) -> dict[str, Any]:
    """Gather the settings that were given; for others the algorithm has defaults.

    Args:
        options: by the setting's name; None where an option was not given.
        assignments: each NAME=VALUE.
        flag: the option of the assignments, for messages.

    Raises:
        ArgumentError: an assignment that cannot be read, or a setting that was given twice.
    """
    settings = {name: value for name, value in options.items() if value is not None}
    for text in assignments:
        name, value = _parse_assignment(text, flag)
        if name in settings:
            raise ArgumentError(
                f"The setting {name!r} was given twice, the second time by {flag} {text!r}."
            )
        settings[name] = value
    return settings


def _parse_assignment(text: str, flag: str) -> tuple[str, Any]:
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
    return name.replace("-", "_"), _parse_value(f"{flag} {shorten_text(text, NAME)!r}", value)


def _parse_value(assignment: str, text: str) -> Any:
    """The value that TOML reads, or the text itself if it is one word, or words between commas.

    Names of nodes (``m3.n117@end``) and paths are words, too.
    """
    try:
        content = parse_toml(f"value = {text}")
    except DataError:
        words = text.split(",")
        content = {"value": words[0] if len(words) == 1 else words}
        if not all(re.fullmatch(_WORD, word) for word in words):
            content = {}
    shown = repr(shorten_text(text, NAME))
    if content.keys() != {"value"}:  # a text of several lines can hold other keys
        raise ArgumentError(
            f"{assignment} cannot be read: {shown} is no number, truth value (true, false), word "
            "or list."
        )
    return content["value"]


Number = TypeVar("Number", int, float)


def read_numbers(
    text: str | None, option: str, kind: Callable[[str], Number]
) -> tuple[Number, ...]:
    """Numbers between commas; none if nothing was given.

    Args:
        kind: ``int`` or ``float``.

    Raises:
        ArgumentError: a part that is no such number.
    """
    try:
        return () if text is None else tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        what, such = ("whole numbers", "0,1,2") if kind is int else ("numbers", "0.01,0.03,0.1")
        raise ArgumentError(
            f"{option} is {shorten_text(text or '', NAME)!r}, but must be {what} between commas, "
            f"such as {such}."
        ) from error


def read_thresholds(text: str | None, option: str = "--thresholds") -> tuple[float, ...] | None:
    """Numbers between commas, as of a curve.

    Raises:
        ArgumentError: a part that is not a number, or numbers that are no curve's thresholds.
    """
    if text is None:
        return None
    from circuitgraph.discovery.sweep import check_thresholds

    thresholds = read_numbers(text, option, float)
    check_thresholds(thresholds)
    return thresholds


def format_assignments(table: Mapping[str, Any]) -> list[str]:
    """A TOML table of settings as assignments."""
    return [f"{name}={_format_toml(value)}" for name, value in table.items()]


def _format_toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_format_toml, value)) + "]"
    return str(value).lower()
