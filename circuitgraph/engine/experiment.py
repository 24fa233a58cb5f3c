"""An experiment: everything that the value of a mask depends on besides the mask, ready to be
asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Ablation, ablations
from circuitgraph.engine.attribution.scores import Attribution
from circuitgraph.engine.devices import Devices
from circuitgraph.engine.frontier.search import Frontier, pays
from circuitgraph.engine.masked.forward import Background, Cells, Inputs
from circuitgraph.engine.masked.programs import (
    Batch,
    run_background,
    run_full,
    run_losses_and_gradient,
    run_masks,
    run_metrics,
    run_writers,
)
from circuitgraph.engine.memory import GROUPS, Plan, plan
from circuitgraph.errors import ArgumentError, DataError, SearchError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets, metrics
from circuitgraph.tasks.prompts import Prompts

_SMALL = 0.05  # of a graph's edges: circuits up to this are run sparsely


class NotFiniteError(SearchError):
    """A metric's value under some mask is NaN or infinite. Use another metric, or look for extreme
    weights.
    """

    def __init__(self, row: int, prompt: int, value: float, metric: str) -> None:
        self.row = row
        super().__init__(
            f"{metric} of prompt {prompt + 1} is {value}. Use another metric or ablation, or look "
            "for extreme weights in the model."
        )


@dataclass(frozen=True)
class _Chunk:
    """Some of the prompts, with all that does not depend on the mask.

    ``background`` is None where keeping it for all chunks would take too much memory.
    """

    devices: Devices
    inputs: Inputs
    corrupted: Inputs
    targets: Targets
    background: Background | None


class Experiment:
    """A model's graph, prompt pairs, a metric and an ablation. Masks go in, metric values come out.

    This is all that searches and evaluations see of a model: devices, batches and activations stay
    below.

    Attributes:
        graph: the edges that masks are over.
        metric, ablation: as found by name.
        reference_sha256: of the reference prompts, if others than the prompts were given.
        n_prompts: how many prompts it asks about.
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
        frontier: bool | None = None,
    ) -> None:
        """Run the model once on both sides of the prompts and keep what masks will need.

        Args:
            metric: name of a metric (``circuitgraph list metrics``).
            ablation: ``resample``, ``zero``, ``mean`` or ``mean-positional``.
            graph: the model's own by default; pass ``model.graph(direct=True)`` for ACDC's
                convention.
            reference: prompts over whose corrupted sides means are taken, as Wang et al. (2022) do
                with their ABC distribution; by default the prompts themselves. Other ablations do
                not look at it.
            memory: limit in bytes for one launch; if there are several devices, on each of them.
            frontier: answer what searches ask by the `Frontier`, or by whole masked runs; by
                default the former, where it fits into memory and takes less than compiling it does.
                Both give the same up to rounding.

        Raises:
            UnknownNameError: no metric or ablation of that name.
            DataError: the metric needs distractors, a prompt is longer than the model's context, or
                the reference is too short for positional means.
            ArgumentError: another model's graph, or not even one evaluation of one prompt fits into
                memory.
        """
        self.graph = model.graph() if graph is None else graph
        self.metric: Metric = metrics[metric]
        self.ablation: Ablation = ablations[ablation]
        check_prompts(model, prompts, self.metric)
        if self.graph != model.graph(
            direct=self.graph.direct, grouped=self.graph.n_kv_heads is not None
        ):
            raise ArgumentError(
                f"The graph given is {self.graph}, but the model's own is {model.graph()}."
            )
        self.n_prompts = len(prompts)
        self.plan: Plan = plan(model.spec, self.graph, len(prompts), prompts.mask.shape[1], memory)
        self._model = Devices.of(self.plan.prompts).everywhere(model.transformer)
        self._cells = Cells.of(self.graph)
        self._frontier_wished = (
            pays(model.spec, self.graph, prompts.mask.size) if frontier is None else frontier
        )
        self.reference_sha256 = None if reference is None else reference.fingerprint
        shared = None
        if not self.ablation.per_prompt:
            reference = prompts if reference is None else reference
            check_tokens(model.spec, reference)
            shared = self._shared_background(model.transformer, reference, prompts.mask.shape[1])
        self._chunks = list(self._prepare(prompts, shared))

    def _prepare(self, prompts: Prompts, shared: Background | None) -> Iterator[_Chunk]:
        for part in _parts(prompts, self.plan.prompts):
            devices = Devices.of(len(prompts.answer[part]))
            clean, corrupted = map(devices.prompts, _sides(prompts, part))
            targets = devices.prompts(_targets(self._model, prompts, clean, part))
            background = None if shared is None else devices.prompts(shared)
            if background is None and self.plan.keeps:
                background = devices.prompts(run_background(self._model, corrupted, self.ablation))
            yield _Chunk(devices, clean, corrupted, targets, background)

    def _shared_background(self, model: Transformer, reference: Prompts, n_pos: int) -> Background:
        """One background from all reference prompts; written values of all of them are alive for a
        moment.

        One device makes it, so that a mean does not depend on their number.
        """
        sides = [
            _sides(reference, part)[1] for part in _parts(reference, self.plan.prompts_per_device)
        ]
        with jax.default_matmul_precision("highest"):
            written = jnp.concatenate([run_writers(model, side) for side in sides], axis=1)
            replacement = self.ablation.function(written, jnp.asarray(reference.mask))
        if 1 < replacement.shape[2] < n_pos:
            raise DataError(
                f"The reference prompts have at most {replacement.shape[2]} tokens, the prompts up "
                f"to {n_pos}: there is no mean for the positions beyond. Use longer reference "
                "prompts, or ablation 'mean'."
            )
        return Background.of(model, replacement[:, :, :n_pos])

    def values(
        self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, "n batch"]:
        """The metric of each example under each mask.

        Where the frontier is in use it answers for the whole model and for small circuits, of which
        it runs the parts that matter.

        Raises:
            SearchError: a value is not finite; names the prompt.
        """
        if masks.ndim != 2 or masks.shape[1] != self.graph.n_edges:
            raise ArgumentError(
                f"masks have shape {masks.shape}; expected (n, {self.graph.n_edges})."
            )
        frontier = self.frontier if masks.dtype == bool else None
        if frontier is None:
            return self._finite(self._masked_values(masks))
        n_kept = masks.sum(axis=1)
        small = (n_kept <= _SMALL * self.graph.n_edges) | (n_kept == self.graph.n_edges)
        values = np.zeros((len(masks), self.n_prompts), np.float32)
        if not small.all():
            values[~small] = self._masked_values(masks[~small])
        for row in np.flatnonzero(small):
            values[row] = frontier.values(masks[row])
        return self._finite(values)

    def _masked_values(
        self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, "n batch"]:
        rows = [
            np.concatenate([self._launch(part, chunk) for chunk in self._chunks], axis=1)
            for part in np.split(masks, range(self.plan.masks, len(masks), self.plan.masks))
        ]
        return np.concatenate(rows)

    def _finite(self, values: Float[np.ndarray, "n batch"]) -> Float[np.ndarray, "n batch"]:
        if not np.isfinite(values).all():
            row, prompt = np.argwhere(~np.isfinite(values))[0]
            raise NotFiniteError(
                int(row), int(prompt), float(values[row, prompt]), self.metric.name
            )
        return values

    def readings(
        self, mask: Bool[np.ndarray, " edges"], names: Sequence[str]
    ) -> Float[np.ndarray, "names batch"]:
        """Other metrics than the experiment's own of each example under one mask, all from one run
        of it.

        Raises:
            UnknownNameError: no metric of that name. SearchError: a value is not finite; names the
                prompt.
        """
        kinds, flat = tuple(metrics[name] for name in names), jnp.asarray(mask, jnp.float32)
        parts = [
            run_metrics(self._model, flat, self._cells, self._args(chunk), kinds)
            for chunk in self._chunks
        ]
        found = np.concatenate([np.asarray(part) for part in parts], axis=1)
        if not np.isfinite(found).all():
            row, prompt = np.argwhere(~np.isfinite(found))[0]
            raise NotFiniteError(int(row), int(prompt), float(found[row, prompt]), names[int(row)])
        return found

    def losses(
        self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, " n"]:
        """The mean loss under each mask: the mean metric, turned so that lower is better. In
        float64.
        """
        return self._mean_losses(self.values(masks))

    def _mean_losses(self, values: Float[np.ndarray, "n batch"]) -> Float[np.ndarray, " n"]:
        means = values.astype(np.float64).mean(axis=1)
        return -means if self.metric.higher_is_better else means

    def seconds_per_evaluation(self) -> float:
        """How long one mask takes in a full launch, compilation left out."""
        full = np.ones((self.plan.lanes, self.graph.n_edges), bool)
        self.values(full)
        start = time.perf_counter()
        self.values(full)
        return (time.perf_counter() - start) / len(full)

    def removal_losses(
        self,
        mask: Bool[np.ndarray, " edges"],
        edges: Int[np.ndarray, " n"],
        going: Bool[np.ndarray, " n"],
        *,
        whole: bool = False,
    ) -> Float[np.ndarray, " n_or_more"]:
        """The mean loss after removing each of ``edges`` from ``mask``, and those before it that
        are ``going``.

        This is the question that a greedy search asks, about edges into one reader.

        Args:
            whole: have the loss of ``mask`` itself first, found in the same way, so that
                differences are exact.

        Raises:
            SearchError: a value is not finite; names the edge and the prompt.
        """
        masks = np.repeat(mask[None], len(edges) + whole, axis=0)
        for row, (edge, goes) in enumerate(zip(edges, going, strict=True)):
            masks[row + whole : None if goes else row + whole + 1, edge] = False
        try:
            return self.reader_losses(masks, int(self.graph.ends[0][edges[0]]))
        except NotFiniteError as error:
            removed = error.row - whole
            what = (
                f"Removing {self.graph.edges[edges[removed]]}"
                if removed >= 0
                else "Before removing anything"
            )
            raise SearchError(f"{what}: {error}") from error

    def reader_losses(
        self, masks: Bool[np.ndarray, "n edges"], reader: int
    ) -> Float[np.ndarray, " n"]:
        """The mean loss under masks that differ in the edges into one reader only.

        Raises:
            SearchError: a value is not finite; names the prompt.
        """
        if self.frontier is None or not self.frontier.pays(reader, masks[0]):
            return self.losses(masks)
        return self._mean_losses(self._finite(self.frontier.candidates(reader, masks)))

    @property
    def widths(self) -> tuple[int, int]:
        """How many masks of `removal_losses` to ask about in one call: as many as are free, and as
        fit one launch.
        """
        if self.frontier is None:
            return self.plan.lanes, self.plan.masks
        return self.plan.frontier_lanes, GROUPS * self.plan.frontier_lanes

    @cached_property
    def frontier(self) -> Frontier | None:
        """The fast route of searches; None where it does not pay or its state does not fit into
        memory.
        """
        if not self._frontier_wished or self.plan.frontier_lanes == 0:
            return None
        chunks = [self._args(chunk) for chunk in self._chunks]
        return Frontier(self._model, self.graph, self.metric, chunks, self.plan.frontier_lanes)

    def gradient(
        self, mask: Bool[np.ndarray, " edges"] | Float[np.ndarray, " edges"]
    ) -> Float[np.ndarray, " edges"]:
        """Derivative of the mean loss by each edge's mask value.

        At the full mask under resampling, minus this is the EAP score (Syed et al. 2023).
        """
        return self.loss_and_gradient(mask)[1]

    def loss_and_gradient(
        self, mask: Bool[np.ndarray, " edges"] | Float[np.ndarray, " edges"]
    ) -> tuple[float, Float[np.ndarray, " edges"]]:
        """The mean loss under a mask and its derivative by each edge's mask value, from one pass
        over the prompts.

        Raises:
            SearchError: a loss or a derivative is not finite; names the prompt or the edge.
        """
        flat = jnp.asarray(np.asarray(mask, np.float32))
        losses, total = [], np.zeros(self.graph.n_edges)
        for chunk in self._chunks:
            part, gradient = run_losses_and_gradient(
                self._model, flat, self._cells, self._args(chunk), self.metric
            )
            losses.append(np.asarray(part, np.float64))
            total += np.asarray(gradient)
        found = np.concatenate(losses)
        if not np.isfinite(found).all():
            prompt = int(np.argmin(np.isfinite(found)))
            raise NotFiniteError(0, prompt, float(found[prompt]), self.metric.name)
        if not np.isfinite(total).all():
            edge = int(np.argmin(np.isfinite(total)))
            raise SearchError(
                f"The derivative of {self.metric.name} by the mask of {self.graph.edges[edge]} is "
                f"{total[edge]}. Use another metric or ablation, or look for extreme weights in the "
                "model."
            )
        return float(found.mean()), total / len(found)

    @cached_property
    def attribution(self) -> Attribution:
        """Scores of all edges from gradients and activations, for searches that score first and
        select then.
        """
        chunks = self._chunks
        return Attribution(
            self._model,
            self.graph,
            self._cells,
            self.metric,
            len(chunks),
            lambda i: (self._args(chunks[i]), chunks[i].corrupted),
        )

    def _args(self, chunk: _Chunk) -> Batch:
        """A chunk as a pytree of arrays, its background made anew if it was not kept."""
        background = chunk.background
        if background is None:
            background = chunk.devices.prompts(
                run_background(self._model, chunk.corrupted, self.ablation)
            )
        return chunk.inputs, chunk.targets, background

    def _launch(self, masks: np.ndarray, chunk: _Chunk) -> np.ndarray:
        """One compiled call. It always takes ``plan.masks`` rows, so that one program serves, but
        runs only some.
        """
        groups = -(-len(masks) // self.plan.lanes)
        rows = np.zeros((self.plan.masks, self.graph.n_edges), np.float32)
        rows[: len(masks)] = masks
        rows = rows.reshape(-1, self.plan.lanes, self.graph.n_edges)
        placed = chunk.devices.candidates(rows)
        values = run_masks(
            self._model, placed, np.int32(groups), self._cells, self._args(chunk), self.metric
        )
        return np.asarray(values).reshape(self.plan.masks, -1)[: len(masks)]


def check_prompts(model: LanguageModel, prompts: Prompts, metric: Metric) -> None:
    """Raise `DataError` unless the model can read these prompts, and the metric score them."""
    check_tokens(model.spec, prompts)
    if metric.needs_distractor and prompts.distractor is None:
        others = ", ".join(n for n in metrics.names() if not metrics[n].needs_distractor)
        raise DataError(
            f"Metric {metric.name!r} needs a distractor for every pair. Without one, use: {others}."
        )


def check_tokens(spec: Spec, prompts: Prompts) -> None:
    """Raise `DataError` where a prompt is longer than the context or has a token beyond the
    vocabulary.
    """
    longest = prompts.mask.shape[1]
    if longest > spec.n_ctx:
        raise DataError(
            f"A prompt has {longest} tokens, but the model's context is {spec.n_ctx}: use shorter "
            "prompts."
        )
    tokens = (prompts.clean, prompts.corrupted, prompts.answer, prompts.distractor)
    highest = max(ids.max() for ids in tokens if ids is not None)
    if highest >= spec.d_vocab:
        raise DataError(
            f"The tokenizer gave token {highest}, but the model knows only {spec.d_vocab}: the "
            "tokenizer is another model's."
        )


def _parts(prompts: Prompts, size: int) -> list[slice]:
    return [slice(i, i + size) for i in range(0, len(prompts), size)]


def _sides(prompts: Prompts, part: slice) -> tuple[Inputs, Inputs]:
    mask = prompts.mask[part]
    positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    shared = [
        jnp.asarray(array) for array in (mask, positions, prompts.score_at[part].astype(np.int32))
    ]
    return Inputs(jnp.asarray(prompts.clean[part]), *shared), Inputs(
        jnp.asarray(prompts.corrupted[part]), *shared
    )


def _targets(model: Transformer, prompts: Prompts, clean: Inputs, part: slice) -> Targets:
    distractor, right, wrong = (
        None if tokens is None else jnp.asarray(tokens[part])
        for tokens in (prompts.distractor, prompts.right, prompts.wrong)
    )
    return Targets(
        jnp.asarray(prompts.answer[part]), distractor, run_full(model, clean), right, wrong
    )
