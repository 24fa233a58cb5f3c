"""Hypothesis files: Python that is executed, and every `Hypothesis` in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import count
from pathlib import Path
from types import ModuleType

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.diagnostics import format_error, format_location, locate_error
from circuitgraph.hypotheses.language import Hypothesis, Location

_numbers = count()


class NoHypothesisError(HypothesisError):
    """A file that can be executed, but holds no hypothesis."""


def load_hypotheses(path: str | Path) -> list[Hypothesis]:
    """Execute a file and return the hypotheses among its globals, in their order.

    The file stands alone: its folder is not searched for modules. What it prints goes to stderr.

    Raises:
        HypothesisError: there is no such file, it is not Python, it fails (its own error, with its
            line), or it holds no hypothesis.
    """
    path = Path(path)
    content = _read_file(path)
    file = str(path.resolve())
    try:
        code = compile(content, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise HypothesisError(_describe_syntax_error(error, file)) from error
    except ValueError as error:  # a null byte
        raise HypothesisError(f"{str(path)!r} is not Python: {error}.") from error
    with _temporary_module(file) as module:
        try:
            exec(code, module.__dict__)  # noqa: S102  a hypothesis file is a program, and says so
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise HypothesisError(_describe_failure(error, file)) from error
    # By identity, because a file may give one hypothesis two names.
    hypotheses = {id(v): v for v in vars(module).values() if isinstance(v, Hypothesis)}
    if not hypotheses:
        raise NoHypothesisError(
            f"{str(path)!r} holds no hypothesis. Expected at its top level H = Hypothesis('...', "
            "task='...', model='...'), from circuitgraph.hypotheses."
        )
    return list(hypotheses.values())


def _read_file(path: Path) -> bytes:
    if os.path.isdir(path):
        raise HypothesisError(f"{str(path)!r} is a folder: name one hypothesis file (.py) in it.")
    if not os.path.exists(path):
        raise HypothesisError(
            f"There is no hypothesis file {str(path)!r}: name one, a Python file (.py)."
        )
    if path.suffix != ".py":
        raise HypothesisError(
            f"{str(path)!r} is no hypothesis file: expected Python, with a name that ends in .py."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise HypothesisError(
            f"{str(path)!r} cannot be read: {error.strerror or error}."
        ) from error


@contextmanager
def _temporary_module(file: str) -> Iterator[ModuleType]:
    """A module to execute in, known to Python only meanwhile and under a name of its own.

    Python must know it, because dataclasses look their module up.
    """
    name = f"circuitgraph_hypothesis_file_{next(_numbers)}"
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    try:
        with redirect_stdout(sys.stderr):
            yield module
    finally:
        sys.modules.pop(name, None)


def _describe_syntax_error(error: SyntaxError, file: str) -> str:
    location = format_location(Location(file, error.lineno or 1))
    text = (error.text or "").strip()
    return f"{location}: {type(error).__name__}: {error.msg}" + (f"\n    {text}" if text else "")


def _describe_failure(error: BaseException, file: str) -> str:
    location = locate_error(error, file) or Location(file, 1)
    message = f"{format_location(location)}: {format_error(error)}"
    if not isinstance(error, Exception):
        message += "\nThe file must not end the program when it is loaded."
    elif (
        isinstance(error, ModuleNotFoundError)
        and (Path(file).parent / f"{error.name}.py").is_file()
    ):
        message += (
            "\nA hypothesis file stands alone, its folder is not searched: install that module, or "
            "copy what it needs."
        )
    return message
