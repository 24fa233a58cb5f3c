"""Names of entries: ``model/task/slug``, three folder names that are safe on every file system."""

from __future__ import annotations

import re
from dataclasses import dataclass

from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.printable import NAME, shorten_text

CIRCUITS = "circuits"  # the folder of a catalog that holds its entries, where models lie beside it
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+=-]{0,98}[A-Za-z0-9_+=-])?")
_FOREIGN = re.compile(r"[^A-Za-z0-9._+=-]+")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)  # on Windows


@dataclass(frozen=True, order=True)
class EntryName:
    """Which model, which task, and the name among the circuits of both."""

    model: str
    task: str
    slug: str

    def __str__(self) -> str:
        return f"{self.model}/{self.task}/{self.slug}"

    @classmethod
    def parse(cls, text: str) -> EntryName:
        """The name that a text says.

        Raises:
            DataError: it is not three folder names, such as an absolute path, or one with ``..``.
        """
        parts = text.split("/")
        if len(parts) != 3 or not all(map(is_part, parts)) or parts[0] == CIRCUITS:
            raise DataError(
                f"{shorten_text(text, NAME)!r} is no name of an entry: expected MODEL/TASK/SLUG, "
                "each of up to 100 letters, digits and ._+=-, which begins with a letter or digit."
            )
        return cls(*parts)


def is_part(text: str) -> bool:
    """Whether a text can be one of the three."""
    return bool(_PART.fullmatch(text)) and not _DEVICES.fullmatch(text)


def make_part(text: str, kind: str) -> str:
    """A folder name out of the name of a model, a task or an algorithm.

    ``org/name`` of a hub becomes ``org--name``, a path its last part.

    Args:
        kind: what it is the name of, for messages.

    Raises:
        ArgumentError: nothing of it can be in such a name.
    """
    path = text.replace("\\", "/").rstrip("/")
    on_hub = path.count("/") == 1 and not path.startswith(("/", ".", "~"))
    last = path.replace("/", "--") if on_hub else path.rpartition("/")[2]
    part = _FOREIGN.sub("-", last)[:100].strip("._+=-")
    if not is_part(part) or (kind == "model" and part == CIRCUITS):
        raise ArgumentError(
            f"The {kind} {shorten_text(text, NAME)!r} gives no name of a folder: choose the name "
            "of the entry yourself, as MODEL/TASK/SLUG."
        )
    return part
