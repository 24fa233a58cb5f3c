"""What only one system has stands behind a question which system it is."""

from __future__ import annotations

import ast

from tests.sources import PACKAGE, parse_package

MODULES = {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "tty", "winreg"}
NAMES = {"O_BINARY", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "getuid", "sysconf"}


def name_modules(node: ast.AST) -> set[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {name.name.partition(".")[0] for name in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def test_modules_of_one_system_are_imported_below_an_if() -> None:
    unguarded = [
        path.name
        for path, tree in parse_package().items()
        for node in tree.body
        if name_modules(node) & MODULES
    ]
    assert unguarded == []
    somewhere = {
        m for tree in parse_package().values() for n in ast.walk(tree) for m in name_modules(n)
    }
    assert somewhere & MODULES, "or this test sees nothing"


def test_names_of_one_system_are_asked_for() -> None:
    """By `getattr`, or in a function that looks at `os.name` or `hasattr` before."""
    unguarded = []
    for path, tree in parse_package().items():
        text = path.read_text(encoding="utf-8")
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            used = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)} & NAMES
            source = (used and ast.get_source_segment(text, function)) or ""
            if used and not ("os.name" in source or "hasattr" in source):
                unguarded.append((path.name, function.name, used))
    assert unguarded == []


def test_no_file_of_the_package_has_a_name_that_a_system_refuses() -> None:
    """Letters that Windows refuses, and names that differ only in what macOS treats as alike."""
    names = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*")]
    assert [name for name in names if set(name) & set('<>:"\\|?*')] == []
    assert len({name.lower() for name in names}) == len(names)
