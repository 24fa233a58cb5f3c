"""What gradients and activations say of all edges of an experiment, without a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.attribution.flow import run_flow
from circuitgraph.engine.attribution.gradients import (
    Held,
    run_differences,
    run_group,
    run_scores,
    run_start,
)
from circuitgraph.engine.attribution.importances import (
    run_feature_importances,
    run_importances,
    run_neuron_importances,
)
from circuitgraph.engine.attribution.interactions import apply_interactions
from circuitgraph.engine.attribution.relevance import apply_rules
from circuitgraph.engine.batch import Batch
from circuitgraph.engine.grid import WriterGroup
from circuitgraph.engine.masked.runs import MaskedRuns
from circuitgraph.engine.values import Values
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.transformer import Stream, Transformer
from circuitgraph.models.units import number_dictionaries, stack_features

T = TypeVar("T", bound=np.ndarray)


class Attribution:
    """Scores of an experiment's edges. All methods share a few compiled programs.

    The differences between replacements and clean values are kept for the batch of prompts that was
    used last.
    """

    def __init__(
        self, graph: Graph, masked: MaskedRuns, dictionaries: Mapping[int, Dictionary]
    ) -> None:
        """``dictionaries``: of the model, by layer."""
        self._graph, self._masked, self._model = graph, masked, masked.model
        self._dictionaries = dictionaries
        self._column = np.asarray(masked.grid.column)
        self._last: tuple[int, Values] | None = None

    def at_interpolated_embedding(self, share: float) -> Float[np.ndarray, " edges"]:
        """Scores with gradients taken where the embedding lies between corrupted and clean.

        Args:
            share: of the way from corrupted (0) to clean (1).

        The prompts' embeddings are the ends whatever the ablation, and what the writer ``embed``
        writes (positions, scale and norm included) is interpolated. Attention may look where it may
        in the clean prompts.
        """

        def score_batch(number: int, batch: Batch) -> Float[np.ndarray, " edges"]:
            start = self._run_start(batch, share)
            return self._compute_scores(number, batch, start, self._hold_group(start))

        return self._average_prompts(score_batch)

    def at_interpolated_group(
        self, group: WriterGroup, share: float
    ) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts, one group of writers held between replacement and clean.

        No gradient passes through what is held: readers that feed the group alone get nothing.

        Args:
            share: of the way from the group's replacements (0) to its clean values (1).
        """
        members = np.zeros(self._masked.grid.n_columns, np.float32)
        members[self._column[list(group.writers)]] = 1

        def score_batch(number: int, batch: Batch) -> Float[np.ndarray, " edges"]:
            assert batch.background is not None  # noqa: S101 - batches here are complete
            moved = self._get_differences(number, batch)
            value = run_group(self._model, members, batch.background, moved, np.float32(share))
            if group.kind == "embed":  # the run starts from it: nothing else has to be held
                return self._compute_scores(number, batch, value, self._hold_group(value))
            return self._compute_scores(
                number, batch, self._run_start(batch, 1.0), self._hold_group(value, group)
            )

        return self._average_prompts(score_batch)

    def relevance(self, *, fixed_patterns: bool) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts by relevance rules in place of gradients."""
        return self._score_ruled(apply_rules(self._model, fixed_patterns=fixed_patterns))

    def interactions(self, temperature: float) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts by the gradients of `apply_interactions`."""
        return self._score_ruled(apply_interactions(self._model, temperature))

    def _score_ruled(self, ruled: Transformer) -> Float[np.ndarray, " edges"]:
        """Scores on the clean prompts by the gradients of a network with rules in it."""

        def score_batch(number: int, batch: Batch) -> Float[np.ndarray, " edges"]:
            start = self._run_start(batch, 1.0)
            return self._compute_scores(number, batch, start, self._hold_group(start), ruled)

        return self._average_prompts(score_batch)

    def importances(self) -> Float[np.ndarray, " writers_but_embed"]:
        """``|(replacement - value) . gradient|`` of every writer but the embedding.

        The mean over the clean prompts. The product is summed over positions and dimensions, and
        the gradient is that at the writer's own output.
        """

        def weigh_batch(number: int, batch: Batch) -> Float[np.ndarray, " writers"]:
            start, moved = self._run_start(batch, 1.0), self._get_differences(number, batch)
            held, grid = self._hold_group(start), self._masked.grid
            return np.asarray(
                run_importances(self._model, start, held, moved, grid, batch, self._masked.metric),
                np.float64,
            )

        return self._average_prompts(weigh_batch)[self._column[1:]]

    def neuron_importances(self) -> dict[int, Float[np.ndarray, " d_mlp"]]:
        """`importances` of every neuron, by layer, whether it is a node of the graph or not.

        Raises:
            ArgumentError: there are no MLPs, or they are mixtures of experts.
        """
        mlps = self._model.blocks.mlp
        if mlps is None or mlps.router is not None:
            raise ArgumentError(
                "There are no neurons to rank: the model has "
                + ("no MLPs." if mlps is None else "experts, and a neuron once for each.")
            )

        return dict(enumerate(self._weigh_units(run_neuron_importances)))

    def feature_importances(self) -> dict[int, Float[np.ndarray, " features"]]:
        """`importances` of every feature of the model's dictionaries, by layer."""
        layers = list(self._dictionaries)
        features = stack_features(dict.fromkeys(layers, ()), self._dictionaries)
        numbers = number_dictionaries(self._graph.n_layers, layers)
        weighed = self._weigh_units(partial(run_feature_importances, features, numbers))
        return dict(zip(layers, weighed[layers], strict=True))

    def _weigh_units(self, run: Callable[..., Array]) -> Float[np.ndarray, "layers units"]:
        """Average what a program gives for each batch."""

        def weigh_batch(number: int, batch: Batch) -> Float[np.ndarray, "layers units"]:
            del number
            start = self._run_start(batch, 1.0)
            held, metric = self._hold_group(start), self._masked.metric
            weighed = run(self._model, start, held, batch, metric, self._masked.ablation)
            return np.asarray(weighed, np.float64)

        return self._average_prompts(weigh_batch)

    def flow(self) -> Float[np.ndarray, " edges"]:
        """The share of each writer in each reader's input in the clean run; see `run_flow`."""

        def share_batch(number: int, batch: Batch) -> Float[np.ndarray, " edges"]:
            del number
            legal = jnp.asarray(self._masked.grid.edge < self._graph.n_edges)
            return self._edges_of(run_flow(self._model, batch.inputs, self._masked.grid, legal))

        return self._average_prompts(share_batch)

    def _average_prompts(self, sum_batch: Callable[[int, Batch], T]) -> np.ndarray:
        """The sums of all batches, over the number of prompts. In float64."""
        total, n_prompts = np.float64(0), 0
        for number, kept in enumerate(self._masked.batches):
            batch = self._masked.complete_batch(kept)
            total = total + sum_batch(number, batch)
            n_prompts += batch.n_prompts
        return np.asarray(total / n_prompts)

    def _run_start(self, batch: Batch, share: float) -> Stream:
        corrupted = batch.inputs if batch.corrupted is None else batch.corrupted
        return run_start(self._model, batch.inputs, corrupted, np.float32(share))

    def _compute_scores(
        self, number: int, batch: Batch, start: Array, held: Held, model: Transformer | None = None
    ) -> Float[np.ndarray, " edges"]:
        moved = self._get_differences(number, batch)
        model = self._model if model is None else model
        matrix = run_scores(
            model, start, held, moved, self._masked.grid, batch, self._masked.metric
        )
        return self._edges_of(matrix)

    def _edges_of(self, matrix: Float[Array, "readers writers"]) -> Float[np.ndarray, " edges"]:
        readers, writers = self._graph.ends
        return np.asarray(matrix, np.float64)[readers, self._column[writers]]

    def _get_differences(self, number: int, batch: Batch) -> Values:
        if self._last is None or self._last[0] != number:
            assert batch.background is not None  # noqa: S101 - batches here are complete
            self._last = None  # frees the memory of the last ones first
            self._last = number, run_differences(self._model, batch.inputs, batch.background)
        return self._last[1]

    def _hold_group(self, value: Stream, group: WriterGroup | None = None) -> Held:
        """That group held at ``value``; nothing held without one."""
        layers = np.arange(self._graph.n_layers)
        here = layers == group.layer if group else np.zeros_like(layers, bool)
        of_heads = group is not None and group.kind == "head"
        return Held(jnp.asarray(here & of_heads), jnp.asarray(here & (not of_heads)), value)
