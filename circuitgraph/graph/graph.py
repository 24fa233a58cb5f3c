"""The graph of a transformer: which writers can feed which readers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int, Shaped

from circuitgraph.errors import ArgumentError, GraphError, check_at_least, unknown_name
from circuitgraph.graph.names import (
    canonical_edge,
    canonical_node,
    edge_name,
    head_name,
    kv_name,
    mlp_name,
)

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
    """An input that reads the residual stream, before its norm; it sees writers of ``stage`` or
    earlier.

    ``feeds`` are the indices of the writers that are computed from this input: one head or MLP, all
    heads of a group where its key-value head is one reader, nothing for the logits. ``head`` is the
    key-value head's index there.
    """

    name: str
    kind: Literal["q", "k", "v", "mlp", "logits"]
    layer: int
    head: int
    stage: int
    feeds: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Every legal edge of one model: a writer may feed every reader that comes after it.

    Edges are numbered reader by reader (layer by layer, q/k/v of each head, then the MLP, the
    logits last), and within a reader writer by writer. GPT-2 small's shape has 32,491 of them.

    Attributes:
        n_layers: number of layers.
        n_heads: attention heads in each layer.
        mlp: whether the layers have MLPs (or MLPs that can write anything but zero).
        direct: the convention of the ACDC reference implementation, which has one more edge for
            each q, k and v of each head, from the reader to its own head. Without such an edge the
            head uses the replaced q (k, v). They are numbered last.
        parallel: the MLP of a layer does not see the heads of that layer.
        coupled: the heads of a layer share a post-norm, so that what goes into one of them changes,
            through the norm's divisor, what all of them write.
        n_kv_heads: if given, k and v are one reader for each key-value head (``a5.kv1<k>``, after
            all q of its layer), which feeds a group of query heads; if None they are one for each
            query head, as EAP-IG and MIB count.

    Raises:
        ArgumentError: a count below one, heads that cannot be grouped so, or ``direct`` with
            ``n_kv_heads``.
    """

    n_layers: int
    n_heads: int
    mlp: bool = True
    direct: bool = False
    parallel: bool = False
    coupled: bool = False
    n_kv_heads: int | None = None

    def __post_init__(self) -> None:
        check_at_least("n_layers", self.n_layers, 1)
        check_at_least("n_heads", self.n_heads, 1)
        if self.n_kv_heads is None:
            return
        check_at_least("n_kv_heads", self.n_kv_heads, 1)
        if self.n_heads % self.n_kv_heads:
            raise ArgumentError(
                f"{self.n_heads} heads cannot share {self.n_kv_heads} key-value heads evenly."
            )
        if self.direct:
            raise ArgumentError(
                "The reference's direct edges lead from a q, k or v to its one head. Where a "
                "key-value head is one reader for several heads there are none: use one or the "
                "other."
            )

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        """All writers, in the order of the forward pass."""
        found = [Writer("embed", "embed", -1, -1, 0)]
        for layer in range(self.n_layers):
            stage = layer * self._sublayers
            found += [
                Writer(head_name(layer, h), "head", layer, h, stage + 1)
                for h in range(self.n_heads)
            ]
            if self.mlp:
                found.append(Writer(mlp_name(layer), "mlp", layer, -1, stage + self._sublayers))
        return tuple(found)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """All readers, in the order of the forward pass; the q, k and v of one head lie side by
        side.
        """
        found: list[Reader] = []
        for layer in range(self.n_layers):
            stage = layer * self._sublayers
            found += self._attention_readers(layer, stage)
            if self.mlp:
                feeds = (self.writer_index(mlp_name(layer)),)
                found.append(
                    Reader(mlp_name(layer), "mlp", layer, -1, stage + self._sublayers - 1, feeds)
                )
        return (
            *found,
            Reader("logits", "logits", self.n_layers, -1, self.n_layers * self._sublayers, ()),
        )

    def _attention_readers(self, layer: int, stage: int) -> list[Reader]:
        heads = [self.writer_index(head_name(layer, h)) for h in range(self.n_heads)]
        if self.n_kv_heads is None:
            named = ((h, head_name(layer, h)) for h in range(self.n_heads))
            return [
                Reader(f"{name}<{i}>", i, layer, h, stage, (heads[h],))
                for h, name in named
                for i in INPUTS
            ]
        found = [
            Reader(f"{head_name(layer, h)}<q>", "q", layer, h, stage, (heads[h],))
            for h in range(self.n_heads)
        ]
        size = self.n_heads // self.n_kv_heads
        for g in range(self.n_kv_heads):
            group = tuple(heads[g * size : (g + 1) * size])
            found += [
                Reader(f"{kv_name(layer, g)}<{i}>", i, layer, g, stage, group) for i in ("k", "v")
            ]
        return found

    def moved_by(self, reader: Reader) -> tuple[int, ...]:
        """The writers whose value can change with this reader's input; none for the logits."""
        if not self.coupled or reader.kind not in INPUTS:
            return reader.feeds
        first = self.writer_index(head_name(reader.layer, 0))
        return tuple(range(first, first + self.n_heads))

    @property
    def _sublayers(self) -> int:
        """How many times the stream grows in one layer."""
        return 2 if self.mlp and not self.parallel else 1

    @cached_property
    def legal(self) -> Bool[np.ndarray, "readers writers"]:
        """Which reader sees which writer."""
        read = np.array([r.stage for r in self.readers])
        written = np.array([w.stage for w in self.writers])
        return written[None, :] <= read[:, None]

    @cached_property
    def ends(self) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
        """Reader and writer index of each edge; a direct edge has its own reader, and -1 for the
        writer.
        """
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
        """Raise `GraphError` unless ``values``, called ``name`` in the message, has one entry per
        edge.
        """
        if values.shape != (self.n_edges,):
            raise GraphError(
                f"{name} has shape {values.shape}, but the graph has {self.n_edges} edges: "
                f"expected shape ({self.n_edges},)."
            )

    def to_networkx(self) -> nx.DiGraph:
        """The graph with one node per writer or logits, and an edge attribute ``inputs`` (such as
        ``"qv"``).
        """
        return networkx_of(self, np.ones(self.n_edges, bool))


def networkx_of(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> nx.DiGraph:
    """The kept edges of a graph between whole nodes: parallel q, k and v edges become one, with
    ``inputs``.
    """
    found = nx.DiGraph()
    found.add_nodes_from((w.name, {"kind": w.kind, "layer": w.layer}) for w in graph.writers)
    found.add_node("logits", kind="logits", layer=graph.n_layers)
    for edge in np.flatnonzero(mask & (graph.ends[1] >= 0)):
        reader, writer = graph.readers[graph.ends[0][edge]], graph.writers[graph.ends[1][edge]]
        letter = reader.kind if reader.kind in INPUTS else ""
        for target in [graph.writers[fed].name for fed in reader.feeds] or ["logits"]:
            if found.has_edge(writer.name, target):
                found.edges[writer.name, target]["inputs"] += letter
            else:
                found.add_edge(writer.name, target, inputs=letter)
    return found
