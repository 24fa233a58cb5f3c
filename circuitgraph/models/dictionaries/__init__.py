"""Dictionaries (sparse autoencoders, transcoders, cross-layer transcoders): one file per layout.

A layout says by which files it is recognised, what their settings mean as a `DictionarySpec`, and
where each part lies. It is a class with the decorator ``@layout("name")``; no list has to be
edited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass

from circuitgraph.models.dictionaries.files import DictionaryFiles
from circuitgraph.models.dictionaries.stored_dictionary import StoredDictionary
from circuitgraph.registry import Registry


@dataclass(frozen=True)
class GivenSettings:
    """What the user says of a dictionary because its files do not; see `load_dictionary`."""

    k: int | None = None
    input_scale: float | None = None


class DictionaryLayout(ABC):
    """What a layout's file must say.

    Attributes:
        holds: the files that it is known by, in words.
        takes: the fields of `GivenSettings` that its files can lack.
        unused: regular expression of the names of tensors that change nothing.
    """

    holds: str
    takes: Collection[str] = ()
    unused: str = r"(?!)"

    @abstractmethod
    def recognise(self, files: DictionaryFiles) -> bool:
        """Whether these files are in this layout."""

    def list_members(self, files: DictionaryFiles) -> list[int] | None:
        """The layers, where there is one dictionary for each of several; None for a single one."""
        del files
        return None

    @abstractmethod
    def open(self, files: DictionaryFiles, given: GivenSettings, layer: int) -> StoredDictionary:
        """Read the settings and the headers of the files.

        Args:
            layer: which of the members; of no meaning for a single dictionary.

        Raises:
            ModelError: settings that nothing here computes, or tensors that do not fit them.
        """


layouts: Registry[DictionaryLayout] = Registry("dictionary layout", __name__)


def layout(name: str) -> Callable[[type[DictionaryLayout]], type[DictionaryLayout]]:
    """Register a subclass of `DictionaryLayout` under a name."""

    def register(cls: type[DictionaryLayout]) -> type[DictionaryLayout]:
        layouts.add(name, cls())
        return cls

    return register
