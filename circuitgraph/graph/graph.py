"""The graph of a transformer: which writers can feed which readers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int, Shaped

from circuitgraph.errors import GraphError, check_at_least, unknown_name
from circuitgraph.graph.names import canonical_edge, canonical_node, edge_name, head_name, mlp_name

INPUTS = ("q", "k", "v")


@dataclass(frozen=True, slots=True)
class Writer:
    """A node that adds to the residual stream.

    ``stage`` counts the sublayers whose outputs the stream holds once this writer has written.
    """

    name: str
    kind: Literal["embed", "head", "mlp"]
    layer: int
    head: int
    stage: int


@dataclass(frozen=True, slots=True)
class Reader:
    """An input that reads the residual stream, before its norm; it sees writers of ``stage`` or earlier.

    ``feeds`` is the index of the writer that is computed from this input, -1 for the logits.
    """

    name: str
    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int
    head: int
    stage: int
    feeds: int


@dataclass(frozen=True)
class Graph:
    """Every legal edge of one model: a writer may feed every reader that comes after it.

    Edges are numbered reader by reader (layer by layer, q/k/v of each head, then the MLP, the logits last), and
    within a reader writer by writer. GPT-2 small's shape has 32,491 of them.

    Attributes:
        n_layers: number of layers.
        n_heads: attention heads in each layer.
        mlp: whether the layers have MLPs (or MLPs that can write anything but zero).
        direct: the convention of the ACDC reference implementation, which has one more edge for each q, k and
            v of each head, from the reader to its own head. Without such an edge the head uses the replaced
            q (k, v). They are numbered last.

    Raises:
        ArgumentError: a count below one.
    """

    n_layers: int
    n_heads: int
    mlp: bool = True
    direct: bool = False

    def __post_init__(self) -> None:
        check_at_least("n_layers", self.n_layers, 1)
        check_at_least("n_heads", self.n_heads, 1)

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        """All writers, in the order of the forward pass."""
        found = [Writer("embed", "embed", -1, -1, 0)]
        for layer in range(self.n_layers):
            stage = layer * self._sublayers
            found += [Writer(head_name(layer, h), "head", layer, h, stage + 1) for h in range(self.n_heads)]
            if self.mlp:
                found.append(Writer(mlp_name(layer), "mlp", layer, -1, stage + 2))
        return tuple(found)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """All readers, in the order of the forward pass; the q, k and v of one head lie side by side."""
        found: list[Reader] = []
        for layer in range(self.n_layers):
            stage = layer * self._sublayers
            for h in range(self.n_heads):
                name, feeds = head_name(layer, h), self.writer_index(head_name(layer, h))
                found += [Reader(f"{name}<{i}>", i, layer, h, stage, feeds) for i in INPUTS]
            if self.mlp:
                feeds = self.writer_index(mlp_name(layer))
                found.append(Reader(mlp_name(layer), "mlp", layer, -1, stage + 1, feeds))
        return (
            *found,
            Reader("logits", "logits", self.n_layers, -1, self.n_layers * self._sublayers, -1),
        )

    @property
    def _sublayers(self) -> int:
        return 2 if self.mlp else 1

    @cached_property
    def legal(self) -> Bool[np.ndarray, "readers writers"]:
        """Which reader sees which writer."""
        read = np.array([r.stage for r in self.readers])
        written = np.array([w.stage for w in self.writers])
        return written[None, :] <= read[:, None]

    @cached_property
    def ends(self) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
        """Reader and writer index of each edge; a direct edge has its own reader, and -1 for the writer."""
        dst, src = np.nonzero(self.legal)
        if self.direct:
            split = np.flatnonzero([r.kind in INPUTS for r in self.readers])
            dst, src = np.concatenate([dst, split]), np.concatenate([src, np.full(len(split), -1)])
        return dst.astype(np.int32), src.astype(np.int32)

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """The canonical name of each edge."""
        readers, writers = [r.name for r in self.readers], [w.name for w in self.writers]
        return tuple(
            edge_name(writers[s], readers[d]) if s >= 0 else edge_name(readers[d], readers[d][:-3])
            for d, s in zip(*self.ends, strict=True)
        )

    @property
    def n_edges(self) -> int:
        """Number of edges, direct ones included."""
        return len(self.ends[0])

    def writer_index(self, name: str) -> int:
        """Position in `writers`; names of papers and other tools are understood."""
        return self._find("writer", canonical_node(name), self._writer_indices)

    def reader_index(self, name: str) -> int:
        """Position in `readers`; names of papers and other tools are understood."""
        return self._find("reader", canonical_node(name), self._reader_indices)

    def edge_index(self, name: str) -> int:
        """Position in `edges`; names of papers and other tools are understood.

        Raises:
            GraphError: both ends exist, but the reader does not see the writer.
            UnknownNameError: an end does not exist in this graph.
        """
        canonical = canonical_edge(name)
        if canonical in self._edge_indices:
            return self._edge_indices[canonical]
        src, dst = canonical.split("->")
        self.writer_index(src)
        self.reader_index(dst)
        raise GraphError(f"{canonical!r} is not an edge: {dst} does not come after {src}.")

    @staticmethod
    def _find(kind: str, name: str, indices: dict[str, int]) -> int:
        if name not in indices:
            raise unknown_name(kind, name, indices)
        return indices[name]

    @cached_property
    def _writer_indices(self) -> dict[str, int]:
        return {w.name: i for i, w in enumerate(self.writers)}

    @cached_property
    def _reader_indices(self) -> dict[str, int]:
        return {r.name: i for i, r in enumerate(self.readers)}

    @cached_property
    def _edge_indices(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.edges)}

    def check_per_edge(self, name: str, values: Shaped[np.ndarray, "..."]) -> None:
        """Raise `GraphError` unless ``values``, called ``name`` in the message, has one entry per edge."""
        if values.shape != (self.n_edges,):
            raise GraphError(
                f"{name} has shape {values.shape}, but the graph has {self.n_edges} edges: "
                f"expected shape ({self.n_edges},)."
            )

    def to_networkx(self) -> nx.DiGraph:
        """The graph with one node per writer or logits, and an edge attribute ``inputs`` (such as ``"qv"``)."""
        return networkx_of(self, np.ones(self.n_edges, bool))


def networkx_of(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> nx.DiGraph:
    """The kept edges of a graph between whole nodes: parallel q, k and v edges become one, with ``inputs``."""
    found = nx.DiGraph()
    found.add_nodes_from((w.name, {"kind": w.kind, "layer": w.layer}) for w in graph.writers)
    found.add_node("logits", kind="logits", layer=graph.n_layers)
    for edge in np.flatnonzero(mask & (graph.ends[1] >= 0)):
        reader, writer = graph.readers[graph.ends[0][edge]], graph.writers[graph.ends[1][edge]]
        target = graph.writers[reader.feeds].name if reader.feeds >= 0 else "logits"
        letter = reader.kind if reader.kind in INPUTS else ""
        if found.has_edge(writer.name, target):
            found.edges[writer.name, target]["inputs"] += letter
        else:
            found.add_edge(writer.name, target, inputs=letter)
    return found
