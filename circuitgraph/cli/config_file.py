"""``--config FILE``: a command's options out of a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

from circuitgraph.cli.settings import format_assignments
from circuitgraph.errors import ArgumentError, list_problems, unknown_name
from circuitgraph.foreign import LARGEST_TOML, parse_toml, read_text
from circuitgraph.printable import NAME, shorten_text

_NOT_IN_FILES = ("config", "help")
_TABLES = ("set", "task-set")
_NUMBERS = ("thresholds", "sizes", "seeds")  # between commas on a command line, a list in a file
# By the type of an option: what to call a value of that type, and the types that TOML may give.
_EXPECTED: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a text in quotes", (str,)),
    Path: ("a text in quotes", (str,)),
    list[str]: ("texts in quotes, in a list", (list,)),
}


def read_config(context: Any, path: Path | None) -> Path | None:
    """Take defaults of this command's options from a TOML file; the command line goes first."""
    if path is None:
        return None
    try:
        content = parse_toml(read_text(path, LARGEST_TOML))
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"The config file {str(path)!r} cannot be read: {error}. Name a TOML file of options."
        ) from error
    options = {_option_name(p): p for p in context.command.params if p.name not in _NOT_IN_FILES}
    values = {key.replace("_", "-"): value for key, value in content.items()}
    problems = [str(unknown_name("option", key, options)) for key in values if key not in options]
    types = get_type_hints(context.command.callback)
    for key in set(values) & set(options):
        try:
            values[key] = _convert_value(key, values[key], types[options[key].name])
        except TypeError as error:
            problems.append(str(error))
    if problems:
        title = f"The config file {str(path)!r} cannot be used:"
        raise ArgumentError(list_problems(title, sorted(problems)))
    defaults = {str(options[key].name): value for key, value in values.items()}
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _option_name(parameter: Any) -> str:
    """How a parameter is called on the command line, without its dashes."""
    return max(parameter.opts, key=len).lstrip("-")


def _convert_value(key: str, value: Any, hint: Any) -> Any:
    """A value of the file as the command line would give it.

    Raises:
        TypeError: the value is not of the option's type.
    """
    # A hint such as `str | None` counts as its first part.
    expected, allowed = _EXPECTED[(get_args(hint) or (hint,))[0]]
    if key in _TABLES:
        expected, allowed = "a table of settings", (dict,)
    if key in _NUMBERS and type(value) is list:
        value = ",".join(map(str, value))
    texts = value if type(value) is list else [value] if type(value) is str else []
    if type(value) not in allowed or not all(map(_is_text, texts)):
        raise TypeError(f"{key} = {shorten_text(repr(value), NAME)}: expected {expected}")
    return format_assignments(value) if isinstance(value, dict) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def prefer_typed_prompts(context: Any, parameter: Any, value: Any) -> Any:
    """A task or data file on the command line replaces both that a config file names.

    What is typed is processed before what is not, so that the latter can still be taken back.
    """
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "COMMANDLINE" and context.default_map:
        for name in ("task", "task_option", "data"):
            context.default_map.pop(name, None)
    return value
