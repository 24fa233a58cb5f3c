"""The grid: which writers and readers stand in which layer, and edge vectors as matrices.

The graph numbers its writers and readers; a model runs layer by layer. This is the only place that
knows both. Writers have columns: first the nodes (vectors), in the graph's order, then the units of
split MLPs (numbers times rows); in a graph of whole MLPs a writer's column is its number.

Axes: ``layers`` are those of the model, ``heads`` all query heads of a layer, ``kv_heads`` the
readers of keys (and values) in a layer: one for each query head, or for each key-value head of a
grouped graph. ``none_or_one`` is empty where the layers have no MLPs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS, UNITS

EdgeMatrix = Bool[np.ndarray, "readers writers"]
Numbers = Array | np.ndarray


class Grid(NamedTuple):
    """Where the edges, writers and readers of a graph stand. A pytree: programs take it as it is.

    Attributes:
        edge: number of the edge from a writer's column (second axis) to a reader (first axis);
            n_edges where there is none.
        direct: number of a reader's direct edge, n_edges + 1 where it has none.
        q, k, v, mlp: the readers, [layers, heads], [layers, kv_heads] twice, [layers, none_or_one].
        heads, mlps: the writers' columns, [layers, heads] and [layers, none_or_one]; of a split
            head or MLP that of its rest.
        sources: likewise of the named parts of heads, [layers, most]; a layer with fewer has
            columns that belong to no writer, and stay zero.
        errors: likewise of dictionaries' errors; in a graph with features every layer has a column
            for one, which in other layers belongs to no writer, and stays zero.
        column: of each writer.
        stream: which residual stream each reader reads, in the order of `Background.streams`: those
            before each layer, those that the MLPs read, the final one.
        units: the reader of each unit, in their order: its own, or that of its MLP; empty where no
            unit has an input of its own.
    """

    edge: Numbers
    direct: Numbers
    q: Numbers
    k: Numbers
    v: Numbers
    mlp: Numbers
    heads: Numbers
    sources: Numbers
    mlps: Numbers
    errors: Numbers
    column: Numbers
    stream: Numbers
    units: Numbers

    @classmethod
    def of(cls, graph: Graph) -> Grid:
        """The grid of a graph, in numpy."""
        readers, writers = graph.ends
        column = _number_columns(graph)
        n_columns = graph.n_vectors + graph.n_units
        edge = np.full((len(graph.readers), n_columns), graph.n_edges, np.int32)
        direct = np.full(len(graph.readers), graph.n_edges + 1, np.int32)
        ordinary = writers >= 0
        edge[readers[ordinary], column[writers[ordinary]]] = np.flatnonzero(ordinary)
        direct[readers[~ordinary]] = np.flatnonzero(~ordinary)
        reading = [r.kind for r in graph.readers]
        q, k, v, mlp = (_number_nodes(graph, reading, kind) for kind in (*ATTENTION_INPUTS, "mlp"))
        whole = [w.node.whole.kind if w.node.is_rest else w.kind for w in graph.writers]
        heads, mlps = (column[_number_nodes(graph, whole, kind)] for kind in ("head", "mlp"))
        errors = mlps[:, mlps.shape[1] * (not graph.has_features) :] + 1
        sources = _list_source_columns(graph)
        nodes = (q, k, v, mlp, heads, sources, mlps, errors, column)
        return cls(edge, direct, *nodes, _streams_read(graph), _find_unit_readers(graph))

    @property
    def n_columns(self) -> int:
        """Number of columns: one for each writer, and those of errors that are none."""
        return self.edge.shape[1]

    @property
    def qkv(self) -> Int[np.ndarray, "layers heads three"]:
        """The q, k and v reader of each query head."""
        n_heads = self.heads.shape[1]
        each = [
            np.repeat(rows, n_heads // rows.shape[1], axis=1) for rows in (self.q, self.k, self.v)
        ]
        return np.stack(each, axis=-1)

    def mask_matrix(self, mask: Float[Array, " edges"]) -> Float[Array, "readers writers"]:
        """A mask as a matrix; differentiable.

        A head whose direct edge is absent uses its replaced q (k, v): the one it computes when
        nothing kept reaches that input. So an absent direct edge is the same as all edges of that
        input absent.
        """
        padded = jnp.concatenate([mask, jnp.array([0.0, 1.0], mask.dtype)])
        return padded[self.edge] * padded[self.direct][:, None]

    def kept_matrix(
        self, mask: Bool[np.ndarray, "*masks edges"]
    ) -> Bool[np.ndarray, "*masks readers writers"]:
        """Boolean masks as matrices, as `mask_matrix` makes them; in numpy."""
        return self._keep_cells(mask, np.asarray(self.edge), np.asarray(self.direct))

    def kept_row(
        self, mask: Bool[np.ndarray, "*masks edges"], reader: int
    ) -> Bool[np.ndarray, "*masks writers"]:
        """One reader's row of `kept_matrix`."""
        return self._keep_cells(
            mask, np.asarray(self.edge)[reader], np.asarray(self.direct)[reader]
        )

    @staticmethod
    def _keep_cells(
        mask: np.ndarray, edge: np.ndarray, direct: np.ndarray | np.integer
    ) -> np.ndarray:
        # behind the edges: an absent one for cells without an edge, a kept one for "no direct edge"
        ends = np.broadcast_to([False, True], (*mask.shape[:-1], 2))
        padded = np.concatenate([mask, ends], axis=-1)
        return padded[..., edge] & padded[..., direct, None]


class WriterGroup(NamedTuple):
    """Writers that stand side by side: the embedding, a layer's heads, or its MLP.

    Attributes:
        kind: ``embed``, ``head`` or ``mlp``. layer: -1 for the embedding.
        writers: their numbers in the graph.
    """

    kind: str
    layer: int
    writers: tuple[int, ...]


def group_writers(graph: Graph) -> list[WriterGroup]:
    """The embedding, then each layer's heads and, if it has one, its MLP."""
    numbers: dict[tuple[str, int], list[int]] = {}
    for number, writer in enumerate(graph.writers):
        kind = "mlp" if writer.node.is_in_mlp else writer.node.whole.kind
        numbers.setdefault((kind, writer.node.layer), []).append(number)
    return [WriterGroup(*key, tuple(members)) for key, members in numbers.items()]


def split_by_layer(
    values: Float[Array, "writers *axes"], n_layers: int
) -> tuple[Float[Array, "*axes"], Float[Array, "layers slots *axes"]]:
    """Values of all nodes as the embedding's, and each layer's: heads, MLP, in a graph with
    features its error.
    """
    return values[0], values[1:].reshape(n_layers, -1, *values.shape[1:])


def join_layers(
    embed: Float[Array, "*axes"], layers: Float[Array, "layers slots *axes"]
) -> Float[Array, "writers *axes"]:
    """The inverse of `split_by_layer`."""
    return jnp.concatenate([embed[None], layers.reshape(-1, *embed.shape)])


def _number_columns(graph: Graph) -> Int[np.ndarray, " writers"]:
    """The column of each writer, as `Grid` has them: layer by layer, then the units."""
    n_slots = (graph.n_vectors - 1) // graph.n_layers
    after = graph.n_head_slots
    places = {"embed": 0, "mlp": after, "rest": after, "error": after + 1}
    column, n_units = np.empty(len(graph.writers), np.int32), 0
    # the next free column of each layer's named parts
    free = [1 + layer * n_slots + graph.n_heads for layer in range(graph.n_layers)]
    for number, writer in enumerate(graph.writers):
        layer, kind = writer.node.layer, writer.kind
        if kind in UNITS:
            column[number], n_units = graph.n_vectors + n_units, n_units + 1
        elif kind == "embed":
            column[number] = 0
        elif kind == "source" and not writer.node.is_rest:
            column[number], free[layer] = free[layer], free[layer] + 1
        else:
            place = places.get(kind, writer.node.index)
            column[number] = 1 + layer * n_slots + place
    return column


def _list_source_columns(graph: Graph) -> Int[np.ndarray, "layers most"]:
    """The columns of the named parts of heads, as `Grid` has them: behind the layer's heads."""
    n_slots = (graph.n_vectors - 1) // graph.n_layers
    first = 1 + n_slots * np.arange(graph.n_layers, dtype=np.int32) + graph.n_heads
    return first[:, None] + np.arange(graph.n_head_slots - graph.n_heads, dtype=np.int32)


def _number_nodes(graph: Graph, kinds: list[str], kind: str) -> Int[np.ndarray, "layers _"]:
    """The numbers of the nodes of one kind, layer by layer."""
    numbers = np.flatnonzero(np.array(kinds) == kind).astype(np.int32)
    return numbers.reshape(graph.n_layers, -1)


def _streams_read(graph: Graph) -> Int[np.ndarray, " readers"]:
    """The number of the stream that each reader reads, as `Grid` says."""
    n = graph.n_layers
    numbers = [
        2 * n if r.kind == "logits" else r.node.layer + (n if r.node.is_in_mlp else 0)
        for r in graph.readers
    ]
    return np.array(numbers, np.int32)


def _find_unit_readers(graph: Graph) -> Int[np.ndarray, " units"]:
    """The number of the reader that feeds each unit, as `Grid` says."""
    if not graph.has_own_inputs:
        return np.zeros(0, np.int32)
    feeding = {writer: n for n, reader in enumerate(graph.readers) for writer in reader.feeds}
    units = [n for n, writer in enumerate(graph.writers) if writer.kind in UNITS]
    return np.array([feeding[unit] for unit in units], np.int32)
