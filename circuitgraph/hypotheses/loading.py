"""Hypothesis files: Python that is executed, and every `Hypothesis` in it."""

from __future__ import annotations

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
    content = _read(path)
    file = str(path.resolve())
    try:
        code = compile(content, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise HypothesisError(_syntax(error, file)) from error
    except ValueError as error:  # a null byte
        raise HypothesisError(f"{str(path)!r} is not Python: {error}.") from error
    with _module(file) as module:
        try:
            exec(code, module.__dict__)  # noqa: S102  a hypothesis file is a program, and says so
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise HypothesisError(_failure(error, file)) from error
    found = {id(value): value for value in vars(module).values() if isinstance(value, Hypothesis)}
    if not found:
        raise NoHypothesisError(
            f"{str(path)!r} holds no hypothesis. Expected at its top level H = Hypothesis('...', "
            "task='...', model='...'), from circuitgraph.hypotheses."
        )
    return list(found.values())


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise HypothesisError(f"{str(path)!r} is a folder: name one hypothesis file (.py) in it.")
    if not path.exists():
        raise HypothesisError(f"There is no hypothesis file {str(path)!r}.")
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
def _module(file: str) -> Iterator[ModuleType]:
    """A module to execute in, known to Python (as dataclasses need) only meanwhile and under a name
    of its own.
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


def _syntax(error: SyntaxError, file: str) -> str:
    text = (error.text or "").strip()
    return (
        f"{format_location(Location(file, error.lineno or 1))}: {type(error).__name__}: {error.msg}"
        + (f"\n    {text}" if text else "")
    )


def _failure(error: BaseException, file: str) -> str:
    where = locate_error(error, file) or Location(file, 1)
    what = format_error(error)
    if not isinstance(error, Exception):
        what += "\nThe file must not end the program when it is loaded."
    elif (
        isinstance(error, ModuleNotFoundError)
        and (Path(file).parent / f"{error.name}.py").is_file()
    ):
        what += "\nA hypothesis file stands alone, its folder is not searched: install that module, or copy what it needs."
    return f"{format_location(where)}: {what}"
