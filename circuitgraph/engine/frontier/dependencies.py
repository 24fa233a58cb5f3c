"""A graph as arrays: what every node is computed from, what changes when something does, and what
of it matters.

Nodes are the graph's writers, in its order. Under a post-norm each head has a second node after
those: what it
writes into the post-norm, before the divisor that all heads of its layer share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS

Kept = Bool[np.ndarray, "readers writers"]
Writers = Bool[np.ndarray, " writers"]


@dataclass(frozen=True)
class Wiring:
    """The nodes of a graph and how they hang together."""

    graph: Graph

    @cached_property
    def n_nodes(self) -> int:
        """Writers, and under a post-norm the heads' values before it."""
        g = self.graph
        return len(g.writers) + g.n_layers * g.n_heads * g.coupled

    @cached_property
    def heads(self) -> Int[np.ndarray, "layers heads"]:
        """The writers that are heads."""
        found = [i for i, w in enumerate(self.graph.writers) if w.kind == "head"]
        return np.array(found).reshape(self.graph.n_layers, -1)

    @cached_property
    def mlps(self) -> Int[np.ndarray, " layers"]:
        """The writers that are MLPs; none if the layers have none."""
        return np.array([i for i, w in enumerate(self.graph.writers) if w.kind == "mlp"], int)

    @cached_property
    def inputs(self) -> Int[np.ndarray, "layers heads three"]:
        """The q, k and v reader of each head."""
        g, found = self.graph, np.zeros((*self.heads.shape, 3), int)
        for index, reader in enumerate(g.readers):
            if reader.kind in ATTENTION_INPUTS:
                for writer in reader.feeds:
                    found[
                        reader.node.layer,
                        g.writers[writer].node.index,
                        ATTENTION_INPUTS.index(reader.input),
                    ] = index
        return found

    @cached_property
    def mlp_inputs(self) -> Int[np.ndarray, " layers"]:
        """The reader of each MLP."""
        return np.array([i for i, r in enumerate(self.graph.readers) if r.kind == "mlp"], int)

    @cached_property
    def base(self) -> Int[np.ndarray, " readers"]:
        """What each reader gets if it keeps no edge: index into the heads' layers, then the MLPs',
        then the logits.
        """
        n = self.graph.n_layers
        return np.array(
            [
                {"mlp": n + r.node.layer, "logits": 2 * n}.get(r.kind, r.node.layer)
                for r in self.graph.readers
            ]
        )

    @property
    def clean_base(self) -> int:
        """What to add to a base for the clean stream there."""
        return 2 * self.graph.n_layers + 1

    @property
    def nothing(self) -> int:
        """The base that is zero."""
        return 2 * self.clean_base

    def raw(self, layer: int, head: int) -> int:
        """The node of a head's value before the post-norm; the head itself where there is none."""
        if not self.graph.coupled:
            return int(self.heads[layer, head])
        return len(self.graph.writers) + layer * self.graph.n_heads + head

    def changed(self, kept: Kept, roots: Writers) -> Writers:
        """The writers that change when ``roots`` do: all that a kept path leads to."""
        found = roots.copy()
        for layer in range(self.graph.n_layers):
            heads = self.heads[layer]
            found[heads] |= self.heads_reading(kept, found, layer)
            if self.graph.coupled and found[heads].any():
                found[heads] = True
            if len(self.mlps):
                found[self.mlps[layer]] |= (kept[self.mlp_inputs[layer]] & found).any()
        return found

    def heads_reading(self, kept: Kept, changed: Writers, layer: int) -> Bool[np.ndarray, " heads"]:
        """The heads of a layer one of whose inputs reads a changed writer."""
        return np.asarray((kept[self.inputs[layer]] & changed).any((1, 2)))

    def incomplete(self, kept: Kept) -> Writers:
        """The writers that are computed from a reader which lacks an edge."""
        return self.fed_by((kept != self.graph.legal).any(1))

    def fed_by(self, readers: Bool[np.ndarray, " readers"]) -> Writers:
        """The writers whose value can change with these readers' inputs."""
        found = np.zeros(len(self.graph.writers), bool)
        for index in np.flatnonzero(readers):
            found[list(self.graph.moved_by(self.graph.readers[index]))] = True
        return found

    def needed(self, kept: Kept) -> tuple[Writers, Writers]:
        """The writers from which a kept path leads to the logits, and those of them that count at
        every position.
        """
        needed, everywhere = kept[-1].copy(), np.zeros(kept.shape[1], bool)
        for layer in reversed(range(self.graph.n_layers)):
            if len(self.mlps) and needed[mlp := self.mlps[layer]]:
                row = kept[self.mlp_inputs[layer]]
                needed |= row
                everywhere |= row & everywhere[mlp]
            heads = self.heads[layer]
            live, wide = needed[heads], everywhere[heads]
            if self.graph.coupled:
                live, wide = (np.full(live.shape, part.any()) for part in (live, wide))
            rows = kept[self.inputs[layer]]
            needed |= rows[live].any((0, 1))
            everywhere |= rows[live][:, 1:].any((0, 1)) | rows[wide][:, 0].any(0)
        return needed, everywhere
