"""The text of functions, as their file has it: a def without its decorators, or a lambda amid
something else.
"""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.language import Hypothesis, Variable

Function = Callable[..., Any]
Place = tuple[int, int]  # line and column


def text_of(function: Function) -> str:
    """The text of a function.

    Raises:
        HypothesisError: it was not written in a file as a def or a lambda.
    """
    code = getattr(function, "__code__", None)
    content = "" if code is None else _file(code.co_filename)
    if code is None or not content:
        raise HypothesisError(
            f"The text of {function!r} is not known: write it in a file, as a def or a lambda."
        )
    return _lambda(content, code) if code.co_name == "<lambda>" else _def(content, code)


def support_of(functions: Iterable[Function], stored: Iterable[str]) -> str:
    """What else of their files functions need: the imports, constants and helpers that they name,
    and what those name.

    Args:
        stored: names of functions that are stored by themselves.
    """
    functions = [f for f in functions if hasattr(f, "__code__")]
    own = set(stored) | {
        name
        for f in functions
        for name, value in f.__globals__.items()
        if isinstance(value, (Hypothesis, Variable))
    }
    wanted = {name for f in functions for name in _globals(f.__code__)}
    kept: list[str] = []
    for file in dict.fromkeys(f.__code__.co_filename for f in functions):
        content = _file(file)
        statements = [s for s in ast.parse(content).body if _binds(s) and not _binds(s) & own]
        needed = _needed(statements, wanted)
        kept += [_segment(content, statement) for statement in needed]
    return "\n".join(kept)


def _needed(statements: list[ast.stmt], wanted: set[str]) -> list[ast.stmt]:
    """The statements that bind a wanted name, or one that such a statement uses."""
    wanted = set(wanted)
    while True:
        needed = [s for s in statements if _binds(s) & wanted]
        more = {
            node.id for s in needed for node in ast.walk(s) if isinstance(node, ast.Name)
        } - wanted
        if not more:
            return needed
        wanted |= more


def _file(name: str) -> str:
    linecache.checkcache(name)
    return "".join(linecache.getlines(name))


def _segment(content: str, node: ast.stmt | ast.expr) -> str:
    """A node's text; of a decorated function with its decorators."""
    decorators = getattr(node, "decorator_list", [])
    if not decorators:
        return ast.get_source_segment(content, node) or ""
    lines = content.split("\n")
    return "\n".join(lines[min(d.lineno for d in decorators) - 1 : node.end_lineno])


def _def(content: str, code: CodeType) -> str:
    """A def's lines, from the def itself on; decorators stay away."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                lines = content.split("\n")[node.lineno - 1 : node.end_lineno]
                return textwrap.dedent("\n".join(lines)).rstrip()
    raise HypothesisError(
        f"The text of {code.co_name!r} is not in line {code.co_firstlineno} of "
        f"{code.co_filename!r}."
    )


def _lambda(content: str, code: CodeType) -> str:
    """The smallest lambda whose body holds all of the code's positions."""
    places = [
        ((a, c), (b, d))
        for a, b, c, d in code.co_positions()
        if None not in (a, b, c, d) and (a, c) != (b, d)
    ]
    found: list[str] = []
    for node in ast.walk(ast.parse(content)):
        if (
            isinstance(node, ast.Lambda)
            and places
            and all(_inside(node.body, *place) for place in places)
        ):
            found.append(_segment(content, node))
    if not found:
        raise HypothesisError(
            f"The text of a lambda in line {code.co_firstlineno} of {code.co_filename!r} is not "
            "known: write a def."
        )
    return min(found, key=len)


def _inside(body: ast.expr, start: Any, end: Any) -> bool:
    first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    return first <= start and end <= last


def _binds(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module gives a value to."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names}
    return {
        n.id
        for n in ast.walk(statement)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


def _globals(code: CodeType) -> set[str]:
    """Names that a function, or one inside it, looks up outside itself; attributes' names may be
    among them.
    """
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _globals(constant)
    return found
