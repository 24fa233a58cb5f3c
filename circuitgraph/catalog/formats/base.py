"""What a format is: a function that writes circuits, or one that reads them, under one name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from circuitgraph.catalog.files import count_graph
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.foreign import convert_settings
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.printable import NAME, shorten_text
from circuitgraph.registry import Registry, read_summary

MOST_EDGES = 2**21  # of a graph that a small file may describe; Llama 3 8B's has 1,592,881


@dataclass(frozen=True)
class Encoded:
    """A circuit in a format.

    Attributes:
        content: of the file; or, of a format that is a folder, of each of its files.
        notes: what the format could not hold, a sentence each.
    """

    content: bytes | Mapping[str, bytes]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """A circuit that was read.

    Attributes:
        notes: what of the file was not taken, a sentence each.
    """

    circuit: Circuit
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encoder:
    """A registered function from a circuit, and options by keyword, to `Encoded`.

    Attributes:
        suffix: of files in this format; "" where it is a folder.
    """

    name: str
    suffix: str
    encode: Callable[..., Encoded]

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.encode)

    @property
    def options(self) -> list[str]:
        """Names of the options."""
        return list(inspect.signature(self.encode).parameters)[1:]

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options in the types that the format wants.

        Raises:
            UnknownNameError: an option that the format does not have.
            ArgumentError: one of another type.
        """
        kind, hints = f"option of the format {self.name!r}", get_type_hints(self.encode)
        return convert_settings(kind, self.options, hints, options)

    def encode_circuit(self, circuit: Circuit, options: Mapping[str, Any]) -> Encoded:
        """The circuit in this format.

        Raises:
            UnknownNameError, ArgumentError: as `check_options`; or an option is missing, or the
                circuit would be another one in this format.
        """
        given = self.check_options(options)
        parameters = list(inspect.signature(self.encode).parameters.values())[1:]
        missing = [p.name for p in parameters if p.default is p.empty and p.name not in given]
        if missing:
            raise ArgumentError(
                f"The format {self.name!r} needs {' and '.join(missing)}: give "
                f"{'it' if len(missing) == 1 else 'them'}."
            )
        return self.encode(circuit, **given)


@dataclass(frozen=True)
class Decoder:
    """A registered function from a file and a model's graph, if that is known, to `Decoded`.

    Attributes:
        suffix: of files in this format.
        bos: whether BOS stands before every prompt of the circuits of this format; None where the
            format says nothing of it.
    """

    name: str
    suffix: str
    decode: Callable[[Path, Graph | None], Decoded]
    bos: Literal["yes"] | None = None

    @property
    def description(self) -> str:
        """The summary of the function's docstring."""
        return read_summary(self.decode)

    def decode_file(self, path: Path, graph: Graph | None) -> Decoded:
        """The circuit of a file.

        Raises:
            DataError: the file cannot be read, or is not what this format or this graph says.
        """
        try:
            return self.decode(path, graph)
        except (OSError, ValueError, UnknownNameError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"{str(path)!r} cannot be read as {self.name}: {reason.removesuffix('.')}. Check "
                "the file, its --format, and the model."
            ) from error


encoders: Registry[Encoder] = Registry("format to write", "circuitgraph.catalog.formats")
decoders: Registry[Decoder] = Registry("format to read", "circuitgraph.catalog.formats")


def encoder(name: str, *, suffix: str) -> Callable[[Callable[..., Encoded]], Any]:
    """Register a function that writes a format; arguments as of `Encoder`."""

    def decorate(encode: Callable[..., Encoded]) -> Callable[..., Encoded]:
        encoders.add(name, Encoder(name, suffix, encode))
        return encode

    return decorate


def decoder(
    name: str, *, suffix: str, bos: Literal["yes"] | None = None
) -> Callable[[Callable[[Path, Graph | None], Decoded]], Any]:
    """Register a function that reads a format; arguments as of `Decoder`."""

    def decorate(
        decode: Callable[[Path, Graph | None], Decoded],
    ) -> Callable[[Path, Graph | None], Decoded]:
        decoders.add(name, Decoder(name, suffix, decode, bos))
        return decode

    return decorate


def choose_format(kinds: Registry[Any], name: str | None, path: Path) -> Any:
    """The format of that name, or else the one whose files end as this one does.

    Raises:
        UnknownNameError: no such format.
        ArgumentError: no name, and none or several formats have that ending.
    """
    if name is not None:
        return kinds[name]
    fitting = [each for each in kinds.names() if kinds[each].suffix == path.suffix.lower() != ""]
    if len(fitting) == 1:
        return kinds[fitting[0]]
    which = f"may be {' or '.join(fitting)}" if fitting else "is the ending of no format"
    raise ArgumentError(
        f"{path.suffix or 'nothing'!r} at the end of {shorten_text(str(path), NAME)!r} {which}: "
        f"give the format (--format), one of {', '.join(kinds.names())}."
    )


def refuse_parts(name: str, circuit: Circuit) -> None:
    """Refuse a circuit among parts of nodes, of which a format knows nothing.

    Raises:
        ArgumentError: some head or MLP of the circuit's graph is cut into parts.
    """
    if heads := circuit.graph.head_splits:
        where = ", ".join(str(split.whole) for split in heads)
        raise ArgumentError(
            f"The format {name!r} has no heads in parts, and this circuit has some (of {where}): "
            "without them it would be another one. Use edge-list, node-link or graphml, which hold "
            "them."
        )
    if splits := circuit.graph.splits:
        kinds = " and ".join(sorted({f"{split.kind}s" for split in splits}))
        where = ", ".join(f"m{split.layer}" for split in splits)
        raise ArgumentError(
            f"The format {name!r} has no {kinds}, and some of them are nodes of this circuit (of "
            f"{where}): without them it would be another one. Use edge-list, node-link or graphml, "
            "which hold them."
        )


def check_size(graph: Graph, n_bytes: int) -> None:
    """Refuse a graph far larger than the file that describes it, before it is built.

    Raises:
        DataError: it has more edges than `MOST_EDGES` and than the file has bytes.
    """
    n_edges = count_graph(graph)[2]
    if n_edges > max(MOST_EDGES, n_bytes):
        raise DataError(
            f"the graph that it describes has {n_edges:,} edges, more than the {MOST_EDGES:,} that "
            f"a file of {n_bytes:,} bytes may have"
        )
