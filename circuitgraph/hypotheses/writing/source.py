"""The text of functions, as their file has it: a def without decorators, or a lambda in a line."""

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


def find_source(function: Function) -> str:
    """The text of a function.

    Raises:
        HypothesisError: it was not written in a file as a def or a lambda.
    """
    code = getattr(function, "__code__", None)
    content = "" if code is None else _read_file(code.co_filename)
    if code is None or not content:
        raise HypothesisError(
            f"The text of {function!r} is not known: write it in a file, as a def or a lambda."
        )
    find = _find_lambda if code.co_name == "<lambda>" else _find_def
    return find(content, code)


def find_support(functions: Iterable[Function], stored: Iterable[str]) -> str:
    """What else of their files functions need: imports, constants and helpers, also of helpers.

    Args:
        stored: names of functions that are stored by themselves.
    """
    functions = [f for f in functions if hasattr(f, "__code__")]
    # The hypothesis and its variables are written anew, so no statement that makes them is needed.
    own_names = set(stored) | {
        name
        for f in functions
        for name, value in f.__globals__.items()
        if isinstance(value, (Hypothesis, Variable))
    }
    used = {name for f in functions for name in _list_globals(f.__code__)}
    texts: list[str] = []
    for file in dict.fromkeys(f.__code__.co_filename for f in functions):
        content = _read_file(file)
        statements = [
            s for s in ast.parse(content).body if _list_bound(s) and not _list_bound(s) & own_names
        ]
        texts += [_extract_text(content, s) for s in _select_needed(statements, used)]
    return "\n".join(texts)


def _select_needed(statements: list[ast.stmt], used: set[str]) -> list[ast.stmt]:
    """The statements that bind a used name, or one that such a statement uses."""
    used = set(used)
    while True:
        needed = [s for s in statements if _list_bound(s) & used]
        names = {node.id for s in needed for node in ast.walk(s) if isinstance(node, ast.Name)}
        if names <= used:
            return needed
        used |= names


def _read_file(name: str) -> str:
    linecache.checkcache(name)
    return "".join(linecache.getlines(name))


def _extract_text(content: str, node: ast.stmt | ast.expr) -> str:
    """A node's text; of a decorated function with its decorators."""
    decorators = getattr(node, "decorator_list", [])
    if not decorators:
        return ast.get_source_segment(content, node) or ""
    lines = content.split("\n")
    return "\n".join(lines[min(d.lineno for d in decorators) - 1 : node.end_lineno])


def _find_def(content: str, code: CodeType) -> str:
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


def _find_lambda(content: str, code: CodeType) -> str:
    """The smallest lambda whose body holds all positions of the code."""
    # Several lambdas can stand in one line: only the positions of their code tell them apart.
    positions = [
        ((line, column), (end_line, end_column))
        for line, end_line, column, end_column in code.co_positions()
        if None not in (line, end_line, column, end_column)
        and (line, column) != (end_line, end_column)
    ]
    lambdas = [node for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Lambda)]
    texts = [
        _extract_text(content, node)
        for node in lambdas
        if positions and all(_is_inside(node.body, start, end) for start, end in positions)
    ]
    if not texts:
        raise HypothesisError(
            f"The text of a lambda in line {code.co_firstlineno} of {code.co_filename!r} is not "
            "known: write a def."
        )
    return min(texts, key=len)


def _is_inside(body: ast.expr, start: Any, end: Any) -> bool:
    """Whether two positions, each a line and a column, lie within an expression."""
    first, last = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    return first <= start and end <= last


def _list_bound(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module gives a value to."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names}
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _list_globals(code: CodeType) -> set[str]:
    """Names that a function, or one inside it, looks up outside itself.

    Names of attributes may be among them.
    """
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _list_globals(constant)
    return names
