"""A graph as arrays: what each node is computed from, what changes with it, and what matters.

Writers are numbered by their columns in the `Grid`: first those that write vectors, the nodes, then
the units of split MLPs. Under a post-norm each head has a second node after the nodes: what it
writes into the post-norm, before the divisor that all heads of its layer share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.engine.grid import EdgeMatrix, Grid
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import UNITS

Writers = Bool[np.ndarray, " writers"]


@dataclass(frozen=True)
class Dependencies:
    """The nodes of a graph and how they hang together."""

    graph: Graph

    @cached_property
    def grid(self) -> Grid:
        """Which writers and readers stand in which layer."""
        return Grid.of(self.graph)

    @cached_property
    def legal(self) -> EdgeMatrix:
        """Which reader sees which writer."""
        return self.grid.kept_matrix(np.ones(self.graph.n_edges, bool))

    @cached_property
    def n_nodes(self) -> int:
        """Number of nodes: under a post-norm with the heads' values before it."""
        return self.graph.n_vectors + self.heads.size * self.graph.coupled

    @cached_property
    def units(self) -> list[list[int]]:
        """The units of each layer's MLP, as columns."""
        of_layer: list[list[int]] = [[] for _ in range(self.graph.n_layers)]
        for column, writer in zip(self.grid.column, self.graph.writers, strict=True):
            if writer.kind in UNITS:
                of_layer[writer.node.layer].append(int(column))
        return of_layer

    @cached_property
    def own_units(self) -> list[tuple[Int[np.ndarray, " units"], Int[np.ndarray, " units"]]]:
        """The units of each layer that are computed one by one, as columns, and their readers.

        That is all of them where some unit has an input of its own, else none.
        """
        readers, first = np.asarray(self.grid.units), self.graph.n_vectors
        columns = [
            np.array(units if self.graph.has_own_inputs else [], np.int32) for units in self.units
        ]
        return [(of_layer, readers[of_layer - first]) for of_layer in columns]

    @property
    def n_steps(self) -> int:
        """How many steps a schedule has at most: of nodes, and of units computed one by one."""
        return self.n_nodes + len(self.grid.units)

    @cached_property
    def heads(self) -> Int[np.ndarray, "layers heads"]:
        """The writers that are heads."""
        return np.asarray(self.grid.heads)

    @cached_property
    def head_inputs(self) -> Int[np.ndarray, "layers heads three"]:
        """The q, k and v reader of each head."""
        return self.grid.qkv

    def list_mlps(self, layer: int) -> list[tuple[int, int]]:
        """The MLP of a layer as writer and as reader; nothing if the layers have none."""
        return list(zip(self.grid.mlps[layer].tolist(), self.grid.mlp[layer].tolist(), strict=True))

    def list_parts(self, layer: int) -> list[int]:
        """The columns of what a layer's MLP computes from one input: itself, or its parts."""
        readers = self.grid.mlp[layer].tolist()
        parts = [int(self.grid.column[w]) for r in readers for w in self.graph.readers[r].feeds]
        apart = set(self.own_units[layer][0].tolist())
        return [part for part in parts if part not in apart]

    @cached_property
    def base(self) -> Int[np.ndarray, " readers"]:
        """What each reader gets if it keeps no edge: the number of its replaced stream."""
        return np.asarray(self.grid.stream)

    @property
    def clean_base(self) -> int:
        """What to add to a base for the clean stream there: the clean streams follow the others."""
        return 2 * self.graph.n_layers + 1

    @property
    def zero_base(self) -> int:
        """The base that is zero, behind both kinds of streams."""
        return 2 * self.clean_base

    def raw_node(self, layer: int, head: int) -> int:
        """The node of a head's value before the post-norm; the head itself where there is none."""
        if not self.graph.coupled:
            return int(self.heads[layer, head])
        return self.graph.n_vectors + layer * self.graph.n_heads + head

    def find_changed_writers(self, kept: EdgeMatrix, roots: Writers) -> Writers:
        """The writers that change when ``roots`` do: all that a kept path leads to."""
        changed = roots.copy()
        for layer in range(self.graph.n_layers):
            heads = self.heads[layer]
            changed[heads] |= self.find_heads_reading(kept, changed, layer)
            if self.graph.coupled and changed[heads].any():
                changed[heads] = True
            for _, reader in self.list_mlps(layer):
                changed[self.list_parts(layer)] |= (kept[reader] & changed).any()
            units, readers = self.own_units[layer]
            changed[units] |= (kept[readers] & changed).any(1)
        return changed

    def find_heads_reading(
        self, kept: EdgeMatrix, changed: Writers, layer: int
    ) -> Bool[np.ndarray, " heads"]:
        """The heads of a layer one of whose inputs reads a changed writer."""
        # kept rows of the layer's inputs, [heads, three, writers]
        return np.asarray((kept[self.head_inputs[layer]] & changed).any((1, 2)))

    def find_incomplete_writers(self, kept: EdgeMatrix) -> Writers:
        """The writers that are computed from a reader which lacks an edge."""
        return self.find_writers_fed_by((kept != self.legal).any(1))

    def find_writers_fed_by(self, readers: Bool[np.ndarray, " readers"]) -> Writers:
        """The writers whose value can change with these readers' inputs."""
        fed = np.zeros(self.grid.n_columns, bool)
        for index in np.flatnonzero(readers):
            fed[self.grid.column[list(self.graph.moved_by(self.graph.readers[index]))]] = True
        return fed

    def find_needed_writers(self, kept: EdgeMatrix) -> tuple[Writers, Writers]:
        """The writers from which a kept path leads to the logits.

        Returns:
            Those that count at all, and those of them that count at every position.
        """
        needed, everywhere = kept[-1].copy(), np.zeros(kept.shape[1], bool)
        for layer in reversed(range(self.graph.n_layers)):
            units, readers = self.own_units[layer]
            rows = kept[readers]
            needed |= rows[needed[units]].any(0)
            everywhere |= rows[everywhere[units]].any(0)
            for _, reader in self.list_mlps(layer):
                parts = self.list_parts(layer)  # computed together
                if needed[parts].any():
                    needed |= kept[reader]
                    everywhere |= kept[reader] & everywhere[parts].any()
            heads = self.heads[layer]
            live, live_everywhere = needed[heads], everywhere[heads]
            if self.graph.coupled:
                # heads of one layer share the norm: if one counts, all do
                live, live_everywhere = (
                    np.full(live.shape, part.any()) for part in (live, live_everywhere)
                )
            rows = kept[self.head_inputs[layer]]  # [heads, three, writers]
            needed |= rows[live].any((0, 1))
            # keys and values are read at every position, queries where their head counts
            everywhere |= rows[live][:, 1:].any((0, 1)) | rows[live_everywhere][:, 0].any(0)
        return needed, everywhere
