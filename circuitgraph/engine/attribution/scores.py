"""What gradients and activations say of all edges of an experiment, without a mask."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.attribution.flow import run_flow
from circuitgraph.engine.attribution.gradients import (
    Held,
    run_differences,
    run_group,
    run_importances,
    run_scores,
    run_start,
)
from circuitgraph.engine.attribution.relevance import with_rules
from circuitgraph.engine.masked.forward import Cells, Inputs
from circuitgraph.engine.masked.programs import Batch
from circuitgraph.graph.graph import Graph
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric

Chunk = tuple[Batch, Inputs]
"""Clean prompts with their targets and background, and the corrupted prompts."""


class Attribution:
    """Scores of an experiment's edges. All methods share a few compiled programs.

    The differences between replacements and clean values are kept for the chunk of prompts that was
    used last.
    """

    def __init__(
        self,
        model: Transformer,
        graph: Graph,
        cells: Cells,
        metric: Metric,
        n_chunks: int,
        chunk: Callable[[int], Chunk],
    ) -> None:
        """``chunk(i)`` gives chunk i of ``n_chunks``."""
        self._model, self._graph, self._cells, self._metric = model, graph, cells, metric
        self._n_chunks, self._chunk = n_chunks, chunk
        self._last: tuple[int, Array] | None = None

    @property
    def n_groups(self) -> int:
        """Number of groups of `interpolated`: the embedding, then each layer's heads and, if it has
        one, its MLP.
        """
        return 1 + self._graph.n_layers * (1 + self._graph.mlp)

    def at(self, share: float) -> Float[np.ndarray, " edges"]:
        """Scores with gradients taken where the embedding is ``share`` of the way from corrupted
        (0) to clean (1).

        The prompts' embeddings are the ends whatever the ablation, and what the writer ``embed``
        writes (positions, scale and norm included) is interpolated. Attention may look where it may
        in the clean prompts.
        """

        def found(i: int, chunk: Chunk) -> Float[np.ndarray, " edges"]:
            start = run_start(self._model, chunk[0][0], chunk[1], np.float32(share))
            return self._scores(i, chunk, start, self._held(start))

        return self._mean(found)

    def interpolated(self, group: int, share: float) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts, one group held ``share`` of the way from its replacements
        (0) to clean (1).

        No gradient passes through what is held: readers that feed the group alone get nothing.
        """

        def found(i: int, chunk: Chunk) -> Float[np.ndarray, " edges"]:
            (inputs, _, background), corrupted = chunk
            members = self._members(group)
            value = run_group(members, background, self._differences(i, chunk), np.float32(share))
            if group == 0:
                return self._scores(i, chunk, value, self._held(value))
            start = run_start(self._model, inputs, corrupted, np.float32(1))
            return self._scores(i, chunk, start, self._held(value, group))

        return self._mean(found)

    def relevance(self, *, fixed_patterns: bool) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts with relevance rules in the place of gradients; see
        `with_rules`.
        """
        ruled = with_rules(self._model, fixed_patterns=fixed_patterns)

        def found(i: int, chunk: Chunk) -> Float[np.ndarray, " edges"]:
            start = run_start(self._model, chunk[0][0], chunk[1], np.float32(1))
            return self._scores(i, chunk, start, self._held(start), ruled)

        return self._mean(found)

    def importances(self) -> Float[np.ndarray, " heads_and_mlps"]:
        """``|(replacement - value) . gradient|`` of every writer but the embedding, the mean over
        the clean prompts.

        The product is summed over positions and dimensions, and the gradient is that at the
        writer's own output.
        """

        def found(i: int, chunk: Chunk) -> Float[np.ndarray, " heads_and_mlps"]:
            start = run_start(self._model, chunk[0][0], chunk[1], np.float32(1))
            moved = self._differences(i, chunk)
            by_layer = run_importances(
                self._model, start, self._held(start), moved, chunk[0], self._metric
            )
            return np.asarray(by_layer, np.float64).ravel()

        return self._mean(found)

    def flow(self) -> Float[np.ndarray, " edges"]:
        """How much of each reader's input comes from each writer in the clean run; see `run_flow`."""

        def found(i: int, chunk: Chunk) -> Float[np.ndarray, " edges"]:
            del i
            return self._gathered(
                run_flow(self._model, chunk[0][0], self._cells, jnp.asarray(self._graph.legal))
            )

        return self._mean(found)

    def _mean(self, found: Callable[[int, Chunk], np.ndarray]) -> np.ndarray:
        """The sum of what was found of all chunks, over the number of prompts. In float64."""
        total, n = np.float64(0), 0
        for i in range(self._n_chunks):
            chunk = self._chunk(i)
            total = total + found(i, chunk)
            n += len(chunk[0][1].answer)
        return np.asarray(total / n)

    def _scores(
        self, i: int, chunk: Chunk, start: Array, held: Held, model: Transformer | None = None
    ) -> Float[np.ndarray, " edges"]:
        moved = self._differences(i, chunk)
        model = self._model if model is None else model
        return self._gathered(
            run_scores(model, start, held, moved, self._cells, chunk[0], self._metric)
        )

    def _gathered(self, matrix: Float[Array, "readers writers"]) -> Float[np.ndarray, " edges"]:
        return np.asarray(matrix, np.float64)[self._graph.ends]

    def _differences(self, i: int, chunk: Chunk) -> Float[Array, "writers batch pos d"]:
        if self._last is None or self._last[0] != i:
            self._last = None  # makes room first
            self._last = (i, run_differences(self._model, chunk[0][0], chunk[0][2]))
        return self._last[1]

    def _members(self, group: int) -> Float[np.ndarray, " writers"]:
        """1 for the writers of a group."""
        layer, mlp = self._place(group)
        kind = "embed" if layer < 0 else "mlp" if mlp else "head"
        return np.array(
            [w.kind == kind and w.node.layer == layer for w in self._graph.writers], np.float32
        )

    def _held(self, value: Float[Array, "batch pos d"], group: int = 0) -> Held:
        """That group held at ``value``; nothing held for the embedding, from which a run starts
        anyway.
        """
        layer, mlp = self._place(group)
        here = np.arange(self._graph.n_layers) == layer
        return Held(jnp.asarray(here & (not mlp)), jnp.asarray(here & mlp), value)

    def _place(self, group: int) -> tuple[int, bool]:
        """Layer of a group (-1: the embedding), and whether it is an MLP."""
        layer, mlp = divmod(group - 1, 1 + self._graph.mlp)
        return layer, bool(mlp) and group > 0
