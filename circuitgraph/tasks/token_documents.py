"""Files of tokens, read a document at a time: text, JSON lines, and arrays of token ids.

However large a file is, no more of it is in memory than a document, and sizes are checked before
anything is allocated. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from circuitgraph.errors import DataError, first_line
from circuitgraph.foreign import parse_json
from circuitgraph.models.checkpoint import Checkpoint, open_checkpoint
from circuitgraph.tasks.prompts import TokenizerLike

SUFFIXES = (".txt", ".jsonl", ".npy", ".safetensors")
LARGEST_LINE = 2**24  # bytes
LARGEST_ROW = 2**22  # tokens
_PIECE = 2**16  # bytes of a text that are tokenised at once, up to the next end of a line
_ROWS_AT_ONCE = 64
_WHOLE_NUMBERS = ("int", "uint", "i", "u")  # how names of dtypes begin: torch's, safetensors'


class Place(NamedTuple):
    """Where a document begins.

    Attributes:
        at: its first byte, or its row.
        number: of its line, from 1, or of its row, from 0, as messages name it.
    """

    at: int
    number: int


class Document(NamedTuple):
    """Tokens that belong together.

    Attributes:
        end: where the next document begins.
        is_text: whether a tokenizer made the ids; else the file holds them.
    """

    place: Place
    end: Place
    ids: list[int]
    is_text: bool


@runtime_checkable
class Documents(Protocol):
    """The documents of a file.

    Attributes:
        unit: what ``size`` counts, and in what messages name a place.
        start: the place of the first document.
    """

    path: Path
    size: int
    unit: str
    start: Place

    def read(self, place: Place) -> Iterator[Document]:
        """The documents from a place on."""
        ...


def open_documents(path: Path, tokenizer: TokenizerLike) -> Documents:
    """The documents of a file, by its suffix.

    Raises:
        DataError: there is no such file, or it is none of these.
    """
    if not path.is_file():
        raise DataError(f"There is no file {str(path)!r}: name a file, {', '.join(SUFFIXES)}.")
    if path.suffix == ".txt":
        return TextDocuments(path, tokenizer)
    if path.suffix == ".jsonl":
        return LineDocuments(path, tokenizer)
    if path.suffix in (".npy", ".safetensors"):
        return RowDocuments(path)
    raise DataError(f"The file {str(path)!r} is none of {', '.join(SUFFIXES)}.")


class TextDocuments:
    """A text: each document is about 64 KiB of it, up to the end of a line."""

    unit, start = "line", Place(0, 1)

    def __init__(self, path: Path, tokenizer: TokenizerLike) -> None:
        self.path, self.size, self._tokenizer = path, path.stat().st_size, tokenizer

    def read(self, place: Place) -> Iterator[Document]:
        lines, first = list[bytes](), place
        for line, end in iterate_lines(self.path, place):
            lines.append(line)
            if end.at - first.at >= _PIECE:
                yield self._make_document(lines, first, end)
                lines, first = [], end
            place = end
        if lines:
            yield self._make_document(lines, first, place)

    def _make_document(self, lines: list[bytes], first: Place, end: Place) -> Document:
        text = decode_text(self.path, b"".join(lines), first)
        return Document(first, end, encode_text(self.path, text, first, self._tokenizer), True)


class LineDocuments:
    """JSON lines: each a list of token ids, a text, or an object with ``tokens`` or ``text``."""

    unit, start = "line", Place(0, 1)

    def __init__(self, path: Path, tokenizer: TokenizerLike) -> None:
        self.path, self.size, self._tokenizer = path, path.stat().st_size, tokenizer

    def read(self, place: Place) -> Iterator[Document]:
        for line, end in iterate_lines(self.path, place):
            if text := decode_text(self.path, line, place).strip():
                yield self._make_document(text, place, end)
            place = end

    def _make_document(self, line: str, place: Place, end: Place) -> Document:
        try:
            content = parse_json(line)
        except DataError as error:
            raise self._make_error(place, f"is no JSON: {first_line(error)}") from error
        if isinstance(content, dict):
            given = [content[name] for name in ("tokens", "text") if name in content]
            content = given[0] if len(given) == 1 else None
        if isinstance(content, str):
            ids = encode_text(self.path, content, place, self._tokenizer)
            return Document(place, end, ids, True)
        if isinstance(content, list) and all(type(token) is int for token in content):
            return Document(place, end, content, False)
        raise self._make_error(place, "holds neither a text nor a list of token ids")

    def _make_error(self, place: Place, problem: str) -> DataError:
        return DataError(
            f"Line {place.number} of {str(self.path)!r} {problem}. Expected a list of token ids, a "
            'text, or an object such as {"text": "..."} or {"tokens": [1, 2]}.'
        )


class RowDocuments:
    """An array of token ids, ``[n_sequences, length]``: each row is a document."""

    unit, start = "row", Place(0, 0)

    def __init__(self, path: Path) -> None:
        self.path = path
        shape, dtype = self._read_header()
        if len(shape) != 2 or not dtype.lower().startswith(_WHOLE_NUMBERS):
            raise self._make_error(f"has the shape {list(shape)} of {dtype}")
        if not 0 < shape[1] <= LARGEST_ROW:
            raise self._make_error(f"has rows of {shape[1]:,} tokens")
        self.size = shape[0]

    def read(self, place: Place) -> Iterator[Document]:
        for start in range(place.at, self.size, _ROWS_AT_ONCE):
            for number, ids in enumerate(self._read_rows(start).tolist(), start):
                where, end = Place(number, number), Place(number + 1, number + 1)
                yield Document(where, end, ids, False)

    def _read_header(self) -> tuple[tuple[int, ...], str]:
        if self.path.suffix == ".npy":
            array = self._open_array()
            return array.shape, str(array.dtype)
        name, checkpoint = self._tensor, self._checkpoint
        return checkpoint.shapes[name], checkpoint.dtypes[name]

    def _read_rows(self, start: int) -> np.ndarray:
        rows = slice(start, min(start + _ROWS_AT_ONCE, self.size))
        if self.path.suffix == ".npy":
            return self._open_array()[rows]
        return self._checkpoint.read_part(self._tensor, (rows,))

    def _open_array(self) -> np.memmap:
        """The array on disk; opened anew each time, so that its pages do not stay in memory."""
        try:
            array = np.lib.format.open_memmap(self.path, mode="r")
        except (OSError, ValueError) as error:
            raise self._make_error(f"cannot be read: {first_line(error)}") from error
        if (held := self.path.stat().st_size) != array.offset + array.nbytes:
            raise self._make_error(f"has {held:,} bytes, not those of an array {array.shape}")
        return array

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return open_checkpoint(str(self.path), [self.path])

    @cached_property
    def _tensor(self) -> str:
        names = list(self._checkpoint.shapes)
        names = names if len(names) == 1 else [n for n in names if n in ("tokens", "input_ids")]
        if len(names) != 1:
            held = ", ".join(sorted(self._checkpoint.shapes)) or "none"
            raise self._make_error(f"holds the tensors {held}, and not one named 'tokens'")
        return names[0]

    def _make_error(self, problem: str) -> DataError:
        return DataError(
            f"The file {str(self.path)!r} {problem}. Expected one array of token ids, whole "
            f"numbers, [n_sequences, length], with rows of at most {LARGEST_ROW:,}."
        )


def iterate_lines(path: Path, place: Place) -> Iterator[tuple[bytes, Place]]:
    """The lines of a file from a place on, each with where it ends.

    Raises:
        DataError: a line of more than `LARGEST_LINE` bytes, or a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(place.at)
            while line := file.readline(LARGEST_LINE + 1):
                if len(line) > LARGEST_LINE:
                    raise DataError(
                        f"Line {place.number} of {str(path)!r} has more than {LARGEST_LINE:,} "
                        "bytes: break it up."
                    )
                place = Place(place.at + len(line), place.number + 1)
                yield line, place
    except OSError as error:
        raise DataError(f"The file {str(path)!r} cannot be read: {first_line(error)}.") from error


def decode_text(path: Path, content: bytes, place: Place) -> str:
    """The text of some bytes; raises `DataError` if they are no UTF-8."""
    try:
        return content.decode("utf-8-sig" if place.at == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"The file {str(path)!r} is no text in UTF-8 from line {place.number} on: "
            f"{first_line(error)}."
        ) from error


def encode_text(path: Path, text: str, place: Place, tokenizer: TokenizerLike) -> list[int]:
    """The tokens of a text; raises `DataError` if one of them is not known."""
    ids = tokenizer.encode(text)
    if tokenizer.unknown_id is not None and tokenizer.unknown_id in ids:
        number = ids.index(tokenizer.unknown_id)
        before = tokenizer.decode(ids[max(0, number - 8) : number])
        raise DataError(
            f"The text from line {place.number} of {str(path)!r} on holds what the tokenizer does "
            f"not know, after {before!r}: leave it out, or give token ids."
        )
    return ids
