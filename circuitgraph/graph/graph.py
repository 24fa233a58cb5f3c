"""The graph of a transformer: which writers can feed which readers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal

import networkx as nx
import numpy as np
from jaxtyping import Bool, Int, Shaped

from circuitgraph.errors import ArgumentError, GraphError, check_at_least, unknown_name
from circuitgraph.graph.head_split import HeadSplit, check_head_splits, check_sources
from circuitgraph.graph.node import (
    ARROW,
    ATTENTION_INPUTS,
    STREAM,
    Input,
    Kind,
    Node,
    canonical_edge,
    canonical_node,
    edge_name,
    input_name,
)
from circuitgraph.showable import Showable


@dataclass(frozen=True, slots=True)
class Writer:
    """A node that adds to the residual stream.

    ``stage`` counts the sublayers whose outputs the stream holds once this writer has written.
    """

    node: Node
    stage: int

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.node)

    @property
    def kind(self) -> Kind:
        """The node's kind."""
        return self.node.kind


@dataclass(frozen=True, slots=True)
class Reader:
    """An input of a node that reads the residual stream, before its norm.

    Attributes:
        node: whose input it is; the key-value head where one input serves a group of heads.
        input: ``q``, ``k`` or ``v`` of a head; ``x``, the stream, of everything else.
        stage: the reader sees writers of this stage or earlier.
        feeds: the indices of the writers that are computed from this input: one head or MLP, all
            heads of a group, all parts of a split head, all parts of a split MLP that have no input
            of their own, nothing for the logits.
    """

    node: Node
    input: Input
    stage: int
    feeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """``a5.h1<q>``, ``a5.kv1<k>``, ``m3``, ``logits``."""
        return input_name(self.node, self.input)

    @property
    def whole_name(self) -> str:
        """Its name in the graph of whole MLPs, where no part has an input of its own."""
        return input_name(self.node.whole, self.input)

    @property
    def is_attention(self) -> bool:
        """Whether a head reads through it."""
        return self.input in ATTENTION_INPUTS

    @property
    def feeds_parts(self) -> bool:
        """Whether it is the input of a split MLP that several of its parts read."""
        return self.node.kind == "mlp" and len(self.feeds) > 1

    @property
    def kind(self) -> str:
        """The input of a head (``q``, ``k``, ``v``); of everything else the node's kind."""
        return self.input if self.is_attention else self.node.kind


@dataclass(frozen=True)
class Split:
    """An MLP cut into parts: some of its neurons or features, each a writer, and ``m3.rest``.

    Features leave an ``m3.error`` too: what the dictionary does not reconstruct. It is recomputed
    from what the MLP reads, unless it is ``frozen``: then it is that of the clean run whatever the
    MLP reads, and no reader feeds it.

    All parts read what the MLP reads, by one reader, ``m3``. With ``own_inputs`` each neuron or
    feature is a reader too, ``m3.n117``, and ``m3`` feeds what is left.
    """

    layer: int
    kind: Literal["neuron", "feature"]
    indices: tuple[int, ...]
    frozen: bool = False
    own_inputs: bool = False

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The parts, in their order in the graph."""
        parts = tuple(Node(self.kind, self.layer, index) for index in self.indices)
        error = (Node("error", self.layer),) if self.kind == "feature" else ()
        return (*parts, Node("rest", self.layer), *error)

    @property
    def fed(self) -> tuple[Node, ...]:
        """The parts that are computed from what the reader ``m3`` gets."""
        nodes = self.nodes[:-1] if self.frozen else self.nodes
        return nodes[len(self.indices) :] if self.own_inputs else nodes

    @property
    def own_readers(self) -> tuple[Node, ...]:
        """The parts that have an input of their own."""
        return self.nodes[: len(self.indices)] if self.own_inputs else ()


@dataclass(frozen=True)
class Graph(Showable):
    """Every legal edge of one model: a writer may feed every reader that comes after it.

    Edges are numbered reader by reader (layer by layer, q/k/v of each head, then the neurons or
    features with an input of their own, then the MLP; the logits last), and within a reader writer
    by writer. GPT-2 small's shape has 32,491 of them.

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
        splits: MLPs that are cut into parts; see `refine`.
        head_splits: heads that are cut by where they fetch; see `refine_head`.

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
    splits: Collection[Split] = ()
    head_splits: Collection[HeadSplit] = ()

    def __post_init__(self) -> None:
        check_at_least("n_layers", self.n_layers, 1)
        check_at_least("n_heads", self.n_heads, 1)
        self._check_splits()
        check_head_splits(self.head_splits, self.n_layers, self.n_heads)
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

    def _check_splits(self) -> None:
        layers = [split.layer for split in self.splits]
        n_mlps = self.n_layers if self.mlp else 0
        if layers != sorted(set(layers)) or not set(layers) <= set(range(n_mlps)):
            raise ArgumentError(
                f"MLPs of the layers {layers} are split: expected layers with an MLP, each once, "
                f"in their order; there are {n_mlps}."
            )
        for split in self.splits:
            indices = list(split.indices)
            if not indices or indices != sorted(set(indices)) or indices[0] < 0:
                raise ArgumentError(
                    f"The parts of m{split.layer} are {indices}: expected numbers from 0, each "
                    "once, in their order."
                )
            if split.frozen and split.kind != "feature":
                raise ArgumentError(
                    f"m{split.layer} is split into neurons, which leave no error to freeze."
                )

    def __repr__(self) -> str:
        empty = {name for name in ("splits", "head_splits") if not getattr(self, name)}
        shape = [f for f in fields(self) if f.name not in empty]
        return f"Graph({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shape)})"

    @property
    def with_whole_mlps(self) -> Graph:
        """The same graph with every MLP whole."""
        return replace(self, splits=())

    def refine(
        self,
        mlp: str,
        *,
        neurons: Sequence[int] = (),
        features: Sequence[int] = (),
        frozen_error: bool = False,
        own_inputs: bool = False,
    ) -> Graph:
        """The graph with one MLP cut into these parts and the rest of it.

        Args:
            mlp: the name of an MLP that is whole in this graph.
            neurons, features: numbers of hidden neurons, or of dictionary features; not both.
            frozen_error: of features, keep the dictionary's error as it is in the clean run; by
                default it is recomputed from what the MLP reads.
            own_inputs: each neuron or feature gets an input of its own, so that there are edges
                such as ``a1.h2->m3.n117``; by default all parts share that of the MLP.

        Raises:
            UnknownNameError: no whole MLP of that name.
            ArgumentError: neurons and features at once, neither of them, a number twice or below
                zero, or neurons with a frozen error.
        """
        node = self.writers[self.writer_index(mlp)].node
        if node.kind != "mlp":
            raise ArgumentError(f"{node} cannot be cut into parts: only whole MLPs can.")
        if bool(neurons) == bool(features):
            raise ArgumentError(f"{node} is cut into neurons or into features: give one of them.")
        indices = tuple(sorted(neurons or features))
        if indices[0] < 0 or len(set(indices)) < len(indices):
            raise ArgumentError(
                f"The parts of {node} are {list(indices)}: each number once, from 0."
            )
        kind = "neuron" if neurons else "feature"
        split = Split(node.layer, kind, indices, frozen_error, own_inputs)
        return replace(self, splits=tuple(sorted((*self.splits, split), key=lambda s: s.layer)))

    def refine_head(self, head: str, sources: Sequence[str]) -> Graph:
        """The graph with one head cut into what it fetches at these sources, and the rest of it.

        Args:
            head: the name of a head that is whole in this graph.
            sources: names of roles of the prompts, or numbers of positions; see `HeadSplit`.

        Raises:
            UnknownNameError: no whole head of that name.
            ArgumentError: no source, one of them twice, or a name that cannot be one.
        """
        node = self.writers[self.writer_index(head)].node
        if node.kind != "head":
            raise ArgumentError(f"{node} cannot be cut by source: only whole heads can.")
        check_sources(node, sources)
        splits = (*self.head_splits, HeadSplit(node.layer, node.index, tuple(sources)))
        return replace(self, head_splits=tuple(sorted(splits, key=lambda s: (s.layer, s.head))))

    @cached_property
    def writers(self) -> tuple[Writer, ...]:
        """All writers, in the order of the forward pass."""
        writers = [Writer(Node("embed"), 0)]
        for layer in range(self.n_layers):
            stage = layer * self.n_sublayers
            writers += [Writer(node, stage + 1) for node in self._list_head_parts(layer)]
            writers += [
                Writer(node, stage + self.n_sublayers) for node in self._list_mlp_parts(layer)
            ]
        return tuple(writers)

    @cached_property
    def readers(self) -> tuple[Reader, ...]:
        """All readers, in the order of the forward pass; a head's q, k and v lie side by side."""
        readers: list[Reader] = []
        for layer in range(self.n_layers):
            stage = layer * self.n_sublayers
            readers += self._make_attention_readers(layer, stage)
            if self.mlp:
                readers += self._make_mlp_readers(layer, stage + self.n_sublayers - 1)
        return (*readers, Reader(Node("logits"), STREAM, self.n_layers * self.n_sublayers, ()))

    def _list_heads(self, layer: int) -> list[Node]:
        return [Node("head", layer, head) for head in range(self.n_heads)]

    def _list_head_parts(self, layer: int) -> list[Node]:
        """The writers that a layer's heads consist of."""
        return [part for head in self._list_heads(layer) for part in self._parts_of(head)]

    def _parts_of(self, head: Node) -> tuple[Node, ...]:
        """The writers that a head consists of: itself, unless it is split."""
        split = next((split for split in self.head_splits if split.whole == head), None)
        return (head,) if split is None else split.nodes

    def _list_mlp_parts(self, layer: int) -> tuple[Node, ...]:
        """The writers that a layer's MLP consists of."""
        if split := self._split_of(layer):
            return split.nodes
        return (Node("mlp", layer),) if self.mlp else ()

    def _split_of(self, layer: int) -> Split | None:
        return next((split for split in self.splits if split.layer == layer), None)

    def _make_attention_readers(self, layer: int, stage: int) -> list[Reader]:
        heads = [
            (node, tuple(self._writer_indices[str(part)] for part in self._parts_of(node)))
            for node in self._list_heads(layer)
        ]
        if self.n_kv_heads is None:
            return [Reader(n, i, stage, fed) for n, fed in heads for i in ATTENTION_INPUTS]
        readers = [Reader(node, "q", stage, fed) for node, fed in heads]
        size = self.n_heads // self.n_kv_heads  # query heads that share one key-value head
        for number in range(self.n_kv_heads):
            members = heads[number * size : (number + 1) * size]
            group = tuple(part for _, fed in members for part in fed)
            shared = Node("kv", layer, number)
            readers += [Reader(shared, "k", stage, group), Reader(shared, "v", stage, group)]
        return readers

    def _make_mlp_readers(self, layer: int, stage: int) -> list[Reader]:
        split = self._split_of(layer)
        own = () if split is None else split.own_readers
        fed = (Node("mlp", layer),) if split is None else split.fed
        places = [(node, (node,)) for node in own] + [(Node("mlp", layer), fed)]
        return [
            Reader(node, STREAM, stage, tuple(self._writer_indices[str(part)] for part in parts))
            for node, parts in places
        ]

    def reader_nodes(self, reader: Reader) -> tuple[str, ...]:
        """Names of the nodes computed from a reader's input; several where heads share it."""
        return tuple(self.writers[writer].name for writer in reader.feeds) or (reader.name,)

    def moved_by(self, reader: Reader) -> tuple[int, ...]:
        """The writers whose value can change with this reader's input; none for the logits."""
        if not self.coupled or not reader.is_attention:
            return reader.feeds
        parts = self._list_head_parts(reader.node.layer)
        return tuple(self._writer_indices[str(part)] for part in parts)

    @cached_property
    def source_writers(self) -> tuple[int, ...]:
        """The writers that no reader feeds, where paths begin: the embedding."""
        fed = {writer for reader in self.readers for writer in reader.feeds}
        return tuple(index for index in range(len(self.writers)) if index not in fed)

    @cached_property
    def n_units(self) -> int:
        """How many writers are units: neurons or features."""
        return sum(len(split.indices) for split in self.splits)

    @property
    def has_own_inputs(self) -> bool:
        """Whether some neurons or features have inputs of their own."""
        return any(split.own_inputs for split in self.splits)

    @property
    def has_features(self) -> bool:
        """Whether some MLP is cut into features."""
        return any(split.kind == "feature" for split in self.splits)

    @cached_property
    def n_head_slots(self) -> int:
        """How many vectors the heads of a layer write: one each (of a split head its rest), then
        the named parts; all layers count as many of these as the one that has most.
        """
        each = [0] * self.n_layers
        for split in self.head_splits:
            each[split.layer] += len(split.sources)
        return self.n_heads + max(each)

    @cached_property
    def n_vectors(self) -> int:
        """How many vectors the nodes that are no units write: the embedding, and as many in each
        layer; where some MLP is cut into features all layers count an error.
        """
        return 1 + self.n_layers * (self.n_head_slots + self.mlp + self.has_features)

    @property
    def n_sublayers(self) -> int:
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
        """Reader and writer index of each edge; a direct edge has -1 for the writer."""
        dst, src = np.nonzero(self.legal)  # row by row: reader by reader, then writer by writer
        if self.direct:
            own = np.flatnonzero([reader.is_attention for reader in self.readers])
            dst, src = np.concatenate([dst, own]), np.concatenate([src, np.full(len(own), -1)])
        return dst.astype(np.int32), src.astype(np.int32)

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """The canonical name of each edge."""
        readers, writers = [r.name for r in self.readers], [w.name for w in self.writers]
        own = [str(reader.node) for reader in self.readers]  # ends of direct edges
        return tuple(
            edge_name(writers[s], readers[d]) if s >= 0 else edge_name(readers[d], own[d])
            for d, s in zip(*self.ends, strict=True)
        )

    @property
    def n_edges(self) -> int:
        """Number of edges, direct ones included."""
        return len(self.ends[0])

    def writer_index(self, name: str) -> int:
        """Position in `writers`; names of papers and other tools are understood."""
        return self._look_up("writer", canonical_node(name), self._writer_indices)

    def reader_index(self, name: str) -> int:
        """Position in `readers`; names of papers and other tools are understood."""
        return self._look_up("reader", canonical_node(name), self._reader_indices)

    def writer_of(self, node: Node) -> Writer:
        """The writer that a node is, or, of a part that is none itself, belongs to."""
        name = str(node) if str(node) in self._writer_indices else str(node.whole)
        return self.writers[self.writer_index(name)]

    def reader_of(self, node: Node, node_input: str) -> Reader:
        """The reader of one of a node's inputs; a part of an MLP reads what its MLP reads, unless
        it has an input of its own.
        """
        name = input_name(node, node_input)
        if name not in self._reader_indices:
            name = input_name(node.whole, node_input)
        return self.readers[self.reader_index(name)]

    def edge_index(self, name: str) -> int:
        """Position in `edges`; names of papers and other tools are understood.

        Raises:
            GraphError: both ends exist, but the reader does not see the writer.
            UnknownNameError: an end does not exist in this graph.
        """
        canonical = canonical_edge(name)
        if canonical in self._edge_indices:
            return self._edge_indices[canonical]
        src, dst = canonical.split(ARROW)
        self.writer_index(src)
        self.reader_index(dst)
        raise GraphError(f"{canonical!r} is not an edge: {dst} does not come after {src}.")

    @staticmethod
    def _look_up(kind: str, name: str, indices: dict[str, int]) -> int:
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
        """Raise `GraphError` unless ``values`` has one entry per edge.

        Args:
            name: what the message calls the values.
        """
        if values.shape != (self.n_edges,):
            raise GraphError(
                f"{name} has shape {values.shape}, but the graph has {self.n_edges} edges: "
                f"expected shape ({self.n_edges},)."
            )

    def to_networkx(self) -> nx.DiGraph:
        """The graph with one node per writer and one for the logits.

        Edges have an attribute ``inputs`` (such as ``"qv"``).
        """
        return make_networkx(self, np.ones(self.n_edges, bool))


def make_networkx(graph: Graph, mask: Bool[np.ndarray, " edges"]) -> nx.DiGraph:
    """The kept edges between whole nodes: parallel q, k and v edges become one, with ``inputs``.

    An edge into a split MLP or head leads to those of its parts that feed something.
    """
    network = nx.DiGraph()
    network.add_nodes_from((w.name, {"kind": w.kind, "layer": w.node.layer}) for w in graph.writers)
    network.add_node("logits", kind="logits", layer=graph.n_layers)
    kept = np.flatnonzero(mask & (graph.ends[1] >= 0))
    sources = {str(node) for split in graph.head_splits for node in split.nodes}
    feeding = {graph.writers[writer].name for writer in np.unique(graph.ends[1][kept])}
    for edge in kept:
        reader, writer = graph.readers[graph.ends[0][edge]], graph.writers[graph.ends[1][edge]]
        letter = reader.input if reader.is_attention else ""
        targets = [
            target
            for target in graph.reader_nodes(reader)
            if target in feeding or not (reader.feeds_parts or target in sources)
        ]
        for target in targets:
            if network.has_edge(writer.name, target):
                network.edges[writer.name, target]["inputs"] += letter
            else:
                network.add_edge(writer.name, target, inputs=letter)
    return network
