"""One registry per kind of addition: an extension is one new file with a decorated function."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from circuitgraph.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind, filled by decorators in the files of one folder.

    The folder is imported at the first look-up, so that no list elsewhere has to name its files.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, entry: T) -> T:
        """File ``entry`` under ``name``; a second, different entry of that name is a mistake."""
        first = self._entries.setdefault(name, entry)
        if first is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files what it decorates under ``name``."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> T:
        """The entry of that name; raises `UnknownNameError` with the nearest matches."""
        self._load_package()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        self._load_package()
        return name in self._entries

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load_package()
        return sorted(self._entries)

    def _load_package(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, prefix=f"{self._package}."):
            importlib.import_module(module.name)
        self._loaded = True


def read_summary(documented: object) -> str:
    """The first paragraph of a docstring on one line: what lists of registered names show."""
    paragraph = (inspect.getdoc(documented) or "").partition("\n\n")[0]
    return " ".join(paragraph.split("\n"))
