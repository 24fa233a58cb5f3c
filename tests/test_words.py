"""The house's words: identifiers say what they are, and one word means one thing."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.sources import PACKAGE, parse_package

BARE = {"asked", "found", "told", "said", "shown", "settled", "judged", "ready", "held"}


def identifiers(tree: ast.AST) -> set[str]:
    """All names that a module gives to things."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_nothing_is_named_found() -> None:
    """A thing that was found has a name of its own."""
    assert [
        path.name for path, tree in parse_package().items() if "found" in identifiers(tree)
    ] == []


def test_functions_are_verb_and_noun() -> None:
    names = [
        node.name
        for tree in parse_package().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("__")
    ]
    one_word = [name for name in names if "_" not in name.strip("_")]
    assert len(one_word) <= 0.3 * len(names)
    assert not {name.strip("_") for name in names} & BARE


def test_no_class_name_stands_in_two_files() -> None:
    files: dict[str, set[str]] = defaultdict(set)
    for path, tree in parse_package().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                files[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(where) for name, where in files.items() if len(where) > 1} == {}


def test_compiled_code_stands_in_the_engine_and_in_models() -> None:
    rooms = {
        path.relative_to(PACKAGE).parts[0]
        for path, tree in parse_package().items()
        if {"filter_jit", "jit"} & identifiers(tree)
    }
    assert rooms <= {"engine", "models"}
