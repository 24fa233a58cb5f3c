"""An experiment: everything that the value of a mask depends on besides the mask, ready to be asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Ablation, Replacement, ablations
from circuitgraph.engine.masked import Background, Cells, Inputs, full_logits, masked_logits, writer_values
from circuitgraph.engine.memory import Plan, plan
from circuitgraph.errors import ArgumentError, DataError, SearchError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.loading import LanguageModel
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.base import Prompts
from circuitgraph.tasks.metrics import Metric, Targets, metrics


@dataclass(frozen=True)
class _Chunk:
    """Some of the prompts, with all that does not depend on the mask."""

    inputs: Inputs
    targets: Targets
    background: Background


class Experiment:
    """A model's graph, prompt pairs, a metric and an ablation. Masks go in, metric values come out.

    This is all that searches and evaluations see of a model: devices, batches and activations stay below.

    Attributes:
        graph: the edges that masks are over.
        metric, ablation: as found by name.
        plan: how the work is cut to fit into memory.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Prompts,
        *,
        metric: str = "logit_difference",
        ablation: str = "resample",
        graph: Graph | None = None,
        reference: Prompts | None = None,
        memory: int | None = None,
    ) -> None:
        """Run the model once on both sides of the prompts and keep what masks will need.

        Args:
            metric: name of a metric (``circuitgraph list metrics``).
            ablation: ``resample``, ``zero``, ``mean`` or ``mean-positional``.
            graph: the model's own by default; pass ``model.graph(direct=True)`` for ACDC's convention.
            reference: prompts over whose corrupted sides means are taken, as Wang et al. (2022) do with their ABC
                distribution; by default the prompts themselves.
            memory: limit in bytes for one launch.

        Raises:
            UnknownNameError: no metric or ablation of that name.
            DataError: the metric needs distractors, or a prompt is longer than the model's context.
            ArgumentError: another model's graph, or not even one evaluation of one prompt fits into memory.
        """
        self.graph = model.graph() if graph is None else graph
        self.metric: Metric = metrics[metric]
        self.ablation: Ablation = ablations[ablation]
        _check_prompts(model, prompts, self.metric)
        if replace(self.graph, direct=False) != model.graph():
            raise ArgumentError(f"The graph given is {self.graph}, but the model's own is {model.graph()}.")
        self.plan: Plan = plan(model.spec, self.graph, len(prompts), prompts.mask.shape[1], memory)
        self._model = model.transformer
        self._cells = Cells.of(self.graph)
        self._chunks = list(self._prepare(prompts, prompts if reference is None else reference))

    def _prepare(self, prompts: Prompts, reference: Prompts) -> Iterator[_Chunk]:
        shared = None
        if not self.ablation.per_prompt:
            shared = self._shared_background(reference, prompts.mask.shape[1])
        for part in self._parts(prompts):
            clean, corrupted = _sides(prompts, part)
            background = _background(self._model, corrupted, self.ablation) if shared is None else shared
            yield _Chunk(clean, _targets(self._model, prompts, clean, part), background)

    def _parts(self, prompts: Prompts) -> list[slice]:
        return [slice(i, i + self.plan.prompts) for i in range(0, len(prompts), self.plan.prompts)]

    def _shared_background(self, reference: Prompts, n_pos: int) -> Background:
        """One background from all reference prompts; written values of all of them are alive for a moment."""
        sides = [_sides(reference, part)[1] for part in self._parts(reference)]
        written = jnp.concatenate([_written(self._model, side) for side in sides], axis=1)
        replacement = self.ablation.function(written, jnp.asarray(reference.mask))
        return Background.of(self._model, _fitted(replacement, n_pos))

    def values(self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]) -> Float[np.ndarray, "n batch"]:
        """The metric of each example under each mask."""
        if masks.ndim != 2 or masks.shape[1] != self.graph.n_edges:
            raise ArgumentError(f"masks have shape {masks.shape}; expected (n, {self.graph.n_edges}).")
        rows = [
            np.concatenate([self._launch(part, chunk) for chunk in self._chunks], axis=1)
            for part in np.split(masks, range(self.plan.masks, len(masks), self.plan.masks))
        ]
        return np.concatenate(rows)

    def losses(self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]) -> Float[np.ndarray, " n"]:
        """The mean loss under each mask: the mean metric, turned so that lower is better. In float64."""
        means = self.values(masks).astype(np.float64).mean(axis=1)
        return -means if self.metric.higher_is_better else means

    def seconds_per_evaluation(self) -> float:
        """How long one mask takes, compilation left out: the second of two evaluations of the full mask."""
        full = np.ones((1, self.graph.n_edges), bool)
        self.values(full)
        start = time.perf_counter()
        self.values(full)
        return time.perf_counter() - start

    def removal_losses(self, mask: Bool[np.ndarray, " edges"], edges: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The mean loss after removing the first one, two, ... n of ``edges`` from ``mask``.

        This is the question that a greedy search asks, so that a faster route can answer it.

        Raises:
            SearchError: a loss is not finite; names the edge.
        """
        masks = np.repeat(mask[None], len(edges), axis=0)
        for row, edge in enumerate(edges):
            masks[row:, edge] = False
        losses = self.losses(masks)
        if not np.isfinite(losses).all():
            row = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise SearchError(
                f"Removing {self.graph.edges[edges[row]]} makes the mean {self.metric.name} {losses[row]}. "
                "Use another metric or ablation, or look for extreme weights in the model."
            )
        return losses

    def gradient(self, mask: Bool[np.ndarray, " edges"] | Float[np.ndarray, " edges"]) -> Float[np.ndarray, " edges"]:
        """Derivative of the mean loss by each edge's mask value.

        At the full mask under resampling, minus this is the EAP score (algorithms.md 2.4).
        """
        total = np.zeros(self.graph.n_edges)
        flat = jnp.asarray(np.asarray(mask, np.float32))
        for chunk in self._chunks:
            total += np.asarray(_loss_gradient(self._model, flat, self._cells, _args(chunk), self.metric))
        return total / sum(len(chunk.targets.answer) for chunk in self._chunks)

    def _launch(self, masks: np.ndarray, chunk: _Chunk) -> np.ndarray:
        """One compiled call. It always takes ``plan.masks`` rows, so that one program serves, but runs only some."""
        groups = -(-len(masks) // self.plan.lanes)
        rows = np.zeros((self.plan.masks, self.graph.n_edges), np.float32)
        rows[: len(masks)] = masks
        rows = rows.reshape(-1, self.plan.lanes, self.graph.n_edges)
        values = _masked_values(
            self._model, jnp.asarray(rows), np.int32(groups), self._cells, _args(chunk), self.metric
        )
        return np.asarray(values).reshape(self.plan.masks, -1)[: len(masks)]


def _fitted(replacement: Replacement, n_pos: int) -> Float[Array, "writers one_or_batch fitted d"]:
    """A positional replacement cut to the prompts' length, or continued with zero where no reference reaches."""
    if replacement.shape[2] == 1:
        return replacement
    missing = max(0, n_pos - replacement.shape[2])
    return jnp.pad(replacement, ((0, 0), (0, 0), (0, missing), (0, 0)))[:, :, :n_pos]


_Args = tuple[Inputs, Targets, Background]


def _args(chunk: _Chunk) -> _Args:
    """A chunk as a pytree of arrays."""
    return chunk.inputs, chunk.targets, chunk.background


def _check_prompts(model: LanguageModel, prompts: Prompts, metric: Metric) -> None:
    longest = prompts.mask.shape[1]
    if longest > model.spec.n_ctx:
        raise DataError(
            f"A prompt has {longest} tokens, but the model's context is {model.spec.n_ctx}: use shorter prompts."
        )
    if metric.needs_distractor and prompts.distractor is None:
        others = ", ".join(n for n in metrics.names() if not metrics[n].needs_distractor)
        raise DataError(f"Metric {metric.name!r} needs a distractor for every pair. Without one, use: {others}.")
    tokens = (prompts.clean, prompts.corrupted, prompts.answer, prompts.distractor)
    highest = max(ids.max() for ids in tokens if ids is not None)
    if highest >= model.spec.d_vocab:
        raise DataError(
            f"The tokenizer gave token {highest}, but the model knows only {model.spec.d_vocab}: the tokenizer is "
            "another model's."
        )


def _sides(prompts: Prompts, part: slice) -> tuple[Inputs, Inputs]:
    mask = prompts.mask[part]
    positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    shared = [jnp.asarray(array) for array in (mask, positions, prompts.score_at[part].astype(np.int32))]
    return Inputs(jnp.asarray(prompts.clean[part]), *shared), Inputs(jnp.asarray(prompts.corrupted[part]), *shared)


def _targets(model: Transformer, prompts: Prompts, clean: Inputs, part: slice) -> Targets:
    distractor = None if prompts.distractor is None else jnp.asarray(prompts.distractor[part])
    return Targets(jnp.asarray(prompts.answer[part]), distractor, _full_logits(model, clean))


# Compiled functions. Parameters are arguments, never closed over, or they would become constants of the program.


@eqx.filter_jit
def _full_logits(model: Transformer, inputs: Inputs) -> Float[Array, "batch vocab"]:
    with jax.default_matmul_precision("highest"):
        return full_logits(model, inputs)


@eqx.filter_jit
def _written(model: Transformer, inputs: Inputs) -> Float[Array, "writers batch pos d"]:
    with jax.default_matmul_precision("highest"):
        return writer_values(model, inputs)


@eqx.filter_jit
def _background(model: Transformer, inputs: Inputs, ablation: Ablation) -> Background:
    with jax.default_matmul_precision("highest"):
        return Background.of(model, ablation.function(writer_values(model, inputs), inputs.mask))


@eqx.filter_jit
def _masked_values(
    model: Transformer,
    masks: Float[Array, "groups lanes edges"],
    n_groups: np.int32 | Int[Array, ""],
    cells: Cells,
    chunk: _Args,
    metric: Metric,
) -> Float[Array, "groups lanes batch"]:
    """The metric under the masks of the first ``n_groups`` groups; the rest stays zero and costs nothing."""
    inputs, targets, background = chunk

    def one(mask: Float[Array, " edges"]) -> Float[Array, " batch"]:
        return metric.function(masked_logits(model, cells.matrix(mask), background, inputs), targets)

    def group(i: Int[Array, ""], found: Float[Array, "groups lanes batch"]) -> Float[Array, "groups lanes batch"]:
        return found.at[i].set(jax.vmap(one)(masks[i]))

    with jax.default_matmul_precision("highest"):
        start = jnp.zeros((*masks.shape[:2], len(targets.answer)), jnp.float32)
        return jax.lax.fori_loop(0, n_groups, group, start)


@eqx.filter_jit
def _loss_gradient(
    model: Transformer, mask: Float[Array, " edges"], cells: Cells, chunk: _Args, metric: Metric
) -> Float[Array, " edges"]:
    inputs, targets, background = chunk

    def total(mask: Float[Array, " edges"]) -> Float[Array, ""]:
        return metric.loss(masked_logits(model, cells.matrix(mask), background, inputs), targets).sum()

    with jax.default_matmul_precision("highest"):
        return jax.grad(total)(mask)
