"""An experiment: everything that the value of a mask depends on besides the mask itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Ablation, ablations
from circuitgraph.engine.attribution.scores import Attribution
from circuitgraph.engine.batch import check_prompts, check_sources, check_tokens
from circuitgraph.engine.devices import Devices
from circuitgraph.engine.frontier.operations import OperationSizes, count_masked_operations
from circuitgraph.engine.frontier.search import Frontier, is_worth_compiling
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.runs import MaskedRuns, make_shared_background, prepare_batches
from circuitgraph.engine.memory import BatchSizes, choose_batch_sizes, launch_operations
from circuitgraph.engine.precision import count_bytes, estimate_noise
from circuitgraph.engine.tuning import FRONTIER_GROUPS, SPARSE_SHARE
from circuitgraph.errors import ArgumentError, DataError, SearchError
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.space import SearchSpace
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.sharding import count_cut_bytes
from circuitgraph.tasks.metrics import Metric, metrics
from circuitgraph.tasks.prompts import Prompts


class NotFiniteError(SearchError):
    """A metric's value under some mask is NaN or infinite.

    Attributes:
        row: which of the masks.
    """

    def __init__(self, row: int, prompt: int, value: float, metric: str) -> None:
        self.row = row
        super().__init__(
            f"{metric} of prompt {prompt + 1} is {value}. Use another metric or ablation, or look "
            "for extreme weights in the model."
        )


class Experiment:
    """A model's graph, prompt pairs, a metric and an ablation. Masks go in, metric values come out.

    This is all that searches and evaluations see of a model: devices, batches and activations stay
    below.

    Attributes:
        graph: the edges that masks are over.
        metric, ablation: of these names.
        space: the edges that a search decides on, leaves out and protects.
        reference_sha256: of the reference prompts, if others than the prompts were given.
        n_prompts: how many prompts it asks about.
        sizes: how the work is cut to fit into memory.
        precision: that the model runs in.
    """

    precision: str = "float32"

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
        space: SearchSpace | None = None,
        at_once: int | None = None,
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
            space: which edges a search decides on; all of them by default.
            at_once: prompts in a launch, where that suits; see `choose_batch_sizes`.

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
        if self.ablation.per_prompt and prompts.corrupted is None:
            others = ", ".join(n for n in ablations.names() if not ablations[n].per_prompt)
            raise DataError(
                f"Ablation {ablation!r} needs a corrupted prompt for every pair. Without one, "
                f"use: {others}."
            )
        if self.graph != model.graph_like(self.graph):
            raise ArgumentError(
                f"The graph given is {self.graph}, but the model's own is {model.graph()}."
            )
        check_sources(self.graph, prompts)
        if self.graph.head_splits and frontier:
            raise ArgumentError(
                "The frontier knows no heads that are split by source. Leave it out: whole "
                "masked runs answer."
            )
        self._dictionaries = {n: each.dictionary for n, each in model.dictionaries.items()}
        network = model.transformer.with_units(self.graph, self._dictionaries)
        self.precision = model.dtype
        self.space = SearchSpace.whole(self.graph) if space is None else space
        self.graph.check_per_edge("the search space", self.space.allowed)
        self.n_prompts = len(prompts)
        n_pos, columns = prompts.mask.shape[1], model.spec.d_vocab_out
        self._whole_run = OperationSizes(model.spec, self.graph, len(prompts), n_pos, columns)
        self.sizes: BatchSizes = choose_batch_sizes(
            model.spec,
            self.graph,
            len(prompts),
            n_pos,
            memory,
            n_scored=prompts.n_scored,
            at_once=at_once,
            itemsize=count_bytes(model.dtype),
            cut_weights=count_cut_bytes(model.transformer),
        )
        if frontier is None and not self.graph.head_splits:
            frontier = is_worth_compiling(model.spec, self.graph, prompts.mask.size)
        self._wants_frontier = bool(frontier) and self.sizes.frontier_lanes > 0
        self.reference_sha256 = None if reference is None else reference.fingerprint
        shared = None
        if not self.ablation.per_prompt:
            reference = prompts if reference is None else reference
            check_tokens(model.spec, reference)
            check_sources(self.graph, reference)
            n_prompts = self.sizes.prompts_per_device
            shared = make_shared_background(network, reference, self.ablation, n_prompts, n_pos)
        # one copy of the weights on each device, or a part of them, which all batches use
        network = Devices.of(network, self.sizes.prompts).copy_everywhere(network)
        grid = jax.tree.map(jax.device_put, Grid.of(self.graph))
        batches = prepare_batches(network, prompts, self.ablation, self.sizes, shared)
        self._masked = MaskedRuns(network, grid, self.metric, self.ablation, self.sizes, batches)

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
            return self._check_finite(self._masked.values(masks))
        n_kept = masks.sum(axis=1)
        n_edges = self.graph.n_edges
        small = (n_kept <= SPARSE_SHARE * n_edges) | (n_kept == n_edges)
        values = np.zeros((len(masks), self.n_prompts), np.float32)
        if not small.all():
            values[~small] = self._masked.values(masks[~small])
        for row in np.flatnonzero(small):
            values[row] = frontier.values(masks[row])
        return self._check_finite(values)

    def _check_finite(
        self, values: Float[np.ndarray, "n batch"], names: Sequence[str] | None = None
    ) -> Float[np.ndarray, "n batch"]:
        """The values; `NotFiniteError`, which names its row's metric, if one is not finite."""
        if np.isfinite(values).all():
            return values
        row, prompt = np.argwhere(~np.isfinite(values))[0]
        name = self.metric.name if names is None else names[int(row)]
        raise NotFiniteError(int(row), int(prompt), float(values[row, prompt]), name)

    def metric_values(
        self, mask: Bool[np.ndarray, " edges"], names: Sequence[str]
    ) -> Float[np.ndarray, "names batch"]:
        """Other metrics than the experiment's own of each example under one mask, from one run.

        Raises:
            UnknownNameError: no metric of that name. SearchError: a value is not finite; names the
                prompt.
        """
        values = self._masked.metric_values(mask, [metrics[name] for name in names])
        return self._check_finite(values, names)

    def losses(
        self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, " n"]:
        """The mean loss under each mask: the mean metric, turned so that lower is better.

        The mean is taken in float64.
        """
        return self._mean_losses(self.values(masks))

    def _mean_losses(self, values: Float[np.ndarray, "n batch"]) -> Float[np.ndarray, " n"]:
        return self.metric.to_loss(values.astype(np.float64).mean(axis=1))

    def seconds_per_evaluation(self) -> float:
        """How long one mask takes in a full launch, compilation left out."""
        full = np.ones((self.sizes.lanes, self.graph.n_edges), bool)
        self.values(full)  # compiles
        start = time.perf_counter()
        self.values(full)
        return (time.perf_counter() - start) / len(full)

    def removal_losses(
        self,
        mask: Bool[np.ndarray, " edges"],
        edges: Int[np.ndarray, " n"],
        guessed_removed: Bool[np.ndarray, " n"],
        *,
        include_unchanged: bool = False,
    ) -> Float[np.ndarray, " n_or_more"]:
        """The mean loss after removing each edge, and the earlier edges guessed to be removed too.

        A greedy search needs these losses of edges into one reader, all at once.

        Args:
            mask: the mask from which edges are removed.
            edges: numbers of edges into one reader.
            guessed_removed: for each edge whether it stays removed in the rows after its own.
            include_unchanged: have the loss of ``mask`` itself first, computed in the same way, so
                that differences are exact.

        Raises:
            SearchError: a value is not finite; names the edge and the prompt.
        """
        first = int(include_unchanged)  # row of the first edge
        masks = np.repeat(mask[None], len(edges) + first, axis=0)
        for row, (edge, stays_out) in enumerate(zip(edges, guessed_removed, strict=True), first):
            masks[row : None if stays_out else row + 1, edge] = False
        try:
            return self.reader_losses(masks, int(self.graph.ends[0][edges[0]]))
        except NotFiniteError as error:
            removed = error.row - first
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
        return self._mean_losses(self.reader_values(masks, reader))

    def reader_values(
        self, masks: Bool[np.ndarray, "n edges"], reader: int
    ) -> Float[np.ndarray, "n batch"]:
        """The metric of each example under masks that differ in the edges into one reader only.

        Raises:
            SearchError: a value is not finite; names the prompt.
        """
        if self.frontier is None or not self.frontier.is_cheaper(reader, masks[0]):
            return self.values(masks)
        return self._check_finite(self.frontier.candidate_values(reader, masks))

    def count_operations(self, mask: Bool[np.ndarray, " edges"], reader: int) -> int:
        """Operations of one mask that differs in the edges into one reader; nothing is run."""
        if self.frontier is not None and self.frontier.is_cheaper(reader, mask):
            return self.frontier.count_operations(reader, mask)
        return count_masked_operations(self._whole_run)

    @property
    def noise(self) -> float:
        """The share of a loss's size by which it may differ on another machine."""
        return estimate_noise(self.precision)

    @property
    def candidate_counts(self) -> tuple[int, int]:
        """The least and the most edges that one call of `removal_losses` should have.

        Fewer than the first number cost as much as that many, because they are computed side by
        side; more than the second take another launch.
        """
        if self.frontier is None:
            return self.sizes.lanes, self.sizes.masks
        return self.frontier.lanes, FRONTIER_GROUPS * self.frontier.lanes

    def count_candidates(self, mask: Bool[np.ndarray, " edges"], reader: int) -> int:
        """The most edges into one reader that one call of `removal_losses` should have.

        Fewer than `candidate_counts` says where each takes many operations: what a wrong guess of
        the search wastes weighs more there than a launch does.
        """
        least, most = self.candidate_counts
        if self.frontier is None or not self.frontier.is_cheaper(reader, mask):
            return most
        fitting = launch_operations() // self.frontier.count_operations(reader, mask)
        return max(least, min(most, fitting - fitting % least))

    @cached_property
    def frontier(self) -> Frontier | None:
        """The fast route of searches; None where it does not pay or does not fit into memory."""
        if not self._wants_frontier:
            return None
        return Frontier(self.graph, self._masked, self.sizes.frontier_lanes)

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
        """The mean loss under a mask, and its derivative by each edge's mask value.

        Both come from one pass over the prompts.

        Raises:
            SearchError: a loss or a derivative is not finite; names the prompt or the edge.
        """
        losses, total = self._masked.losses_and_gradient(mask)
        self._check_finite(losses[None])
        if not np.isfinite(total).all():
            edge = int(np.argmin(np.isfinite(total)))
            raise SearchError(
                f"The derivative of {self.metric.name} by the mask of {self.graph.edges[edge]} is "
                f"{total[edge]}. Use another metric or ablation, or look for extreme weights in "
                "the model."
            )
        return float(losses.mean()), total / len(losses)

    @cached_property
    def attribution(self) -> Attribution:
        """Scores of all edges from gradients and activations, for searches that score first."""
        return Attribution(self.graph, self._masked, self._dictionaries)
