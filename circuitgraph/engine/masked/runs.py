"""The masked route: any masks of an experiment's edges, each by a run of the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from circuitgraph.engine.ablation import Ablation, Background
from circuitgraph.engine.batch import Batch, make_batch
from circuitgraph.engine.devices import Devices
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.programs import (
    run_background,
    run_errors,
    run_full,
    run_losses_and_gradient,
    run_masks,
    run_metrics,
    run_shared_background,
    run_writers,
)
from circuitgraph.engine.memory import BatchSizes
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Prompts


@dataclass(eq=False)
class MaskedRuns:
    """A model, prompts in batches, and the programs that run them under masks.

    Attributes:
        batches: their backgrounds are None where keeping all of them would take too much memory;
            `complete_batch` makes one anew.
    """

    model: Transformer
    grid: Grid
    metric: Metric
    ablation: Ablation
    sizes: BatchSizes
    batches: Sequence[Batch]

    def complete_batch(self, batch: Batch) -> Batch:
        """The batch with its background."""
        if batch.background is not None:
            return batch
        return _add_background(self.model, batch, self.ablation)

    def values(
        self, masks: Bool[np.ndarray, "n edges"] | Float[np.ndarray, "n edges"]
    ) -> Float[np.ndarray, "n prompts"]:
        """The metric of each prompt under each mask."""
        launches = np.split(masks, range(self.sizes.masks, len(masks), self.sizes.masks))
        rows = [
            np.concatenate([self._run_launch(part, batch) for batch in self.batches], axis=1)
            for part in launches
        ]
        return np.concatenate(rows)

    def metric_values(
        self, mask: Bool[np.ndarray, " edges"], metrics: Sequence[Metric]
    ) -> Float[np.ndarray, "metrics prompts"]:
        """Several metrics of each prompt under one mask, all from one run of it."""
        flat = jnp.asarray(mask, jnp.float32)
        parts = [
            run_metrics(self.model, flat, self.grid, self.complete_batch(batch), tuple(metrics))
            for batch in self.batches
        ]
        return np.concatenate([np.asarray(part) for part in parts], axis=1)

    def losses_and_gradient(
        self, mask: Bool[np.ndarray, " edges"] | Float[np.ndarray, " edges"]
    ) -> tuple[Float[np.ndarray, " prompts"], Float[np.ndarray, " edges"]]:
        """Each prompt's loss under a mask, and the derivative of their sum by the mask."""
        flat = jnp.asarray(np.asarray(mask, np.float32))
        losses, total = [], np.zeros(len(mask))
        for batch in self.batches:
            for part in _cut_batch(
                self.model, self.complete_batch(batch), self.sizes.gradient_prompts
            ):
                some, gradient = run_losses_and_gradient(
                    self.model, flat, self.grid, part, self.metric
                )
                losses.append(np.asarray(some, np.float64))
                total += np.asarray(gradient)
        return np.concatenate(losses), total

    def _run_launch(self, masks: np.ndarray, batch: Batch) -> Float[np.ndarray, "n batch"]:
        """The metric under up to ``sizes.masks`` masks, by one compiled call.

        The call always takes ``sizes.masks`` rows, so that one program serves; only the groups with
        masks in them are run.
        """
        lanes = self.sizes.lanes
        n_groups = -(-len(masks) // lanes)
        rows = np.zeros((self.sizes.masks, masks.shape[1]), np.float32)
        rows[: len(masks)] = masks
        # [groups, lanes, edges]: lanes are run side by side, groups one after the other
        placed = Devices.of(self.model, batch.n_prompts).share_candidates(
            rows.reshape(-1, lanes, masks.shape[1])
        )
        values = run_masks(
            self.model,
            placed,
            np.int32(n_groups),
            self.grid,
            self.complete_batch(batch),
            self.metric,
        )
        return np.asarray(values).reshape(self.sizes.masks, -1)[: len(masks)]


def prepare_batches(
    model: Transformer,
    prompts: Prompts,
    ablation: Ablation,
    sizes: BatchSizes,
    shared: Background | None,
) -> list[Batch]:
    """All prompts on the devices, with the whole model's logits.

    Args:
        shared: one background for all prompts; by default each prompt has its own, made by the
            ablation of its corrupted side, and kept where ``sizes`` says so.
    """
    batches = []
    for rows in cut_prompts(prompts, sizes.prompts):
        batch = make_batch(prompts, rows, sources=_list_sources(model))
        batch = batch._replace(background=shared)
        batch = Devices.of(model, batch.n_prompts).share_prompts(batch)
        if shared is None and sizes.keeps:
            batch = _add_background(model, batch, ablation)
        if model.units is not None and model.units.freezes:
            batch = batch._replace(errors=run_errors(model, batch.inputs))
        batches.append(_add_full_logits(model, batch))
    return batches


def _list_sources(model: Transformer) -> tuple[str, ...]:
    return () if model.sources is None else model.sources.names


def _cut_batch(model: Transformer, batch: Batch, size: int) -> Iterator[Batch]:
    """A batch in parts of that many prompts; the last one may be smaller."""
    if batch.n_prompts <= size:
        yield batch
        return
    for start in range(0, batch.n_prompts, size):
        end = min(start + size, batch.n_prompts)

        def cut(axis: int, x: Array, start: int = start, end: int = end) -> Array:
            # an axis of one is a value that all prompts share, as a mean ablation's
            return x if x.shape[axis] == 1 else jax.lax.slice_in_dim(x, start, end, axis=axis)

        yield Devices.of(model, end - start).share_prompts(batch.map_prompts(cut))


def _add_background(model: Transformer, batch: Batch, ablation: Ablation) -> Batch:
    """The batch with the background that the ablation makes of its corrupted side."""
    assert batch.corrupted is not None  # noqa: S101 - these batches are made of pairs
    background = run_background(model, batch.corrupted, ablation)
    return batch._replace(background=Devices.of(model, batch.n_prompts).share_prompts(background))


def _add_full_logits(model: Transformer, batch: Batch) -> Batch:
    """The batch with the whole model's logits."""
    targets = batch.targets._replace(full_logits=run_full(model, batch.inputs))
    return Devices.of(model, batch.n_prompts).share_prompts(batch._replace(targets=targets))


def make_shared_background(
    model: Transformer, reference: Prompts, ablation: Ablation, n_prompts: int, n_pos: int
) -> Background:
    """One background from all reference prompts, whose written values are alive for a moment.

    One device makes it, so that a mean does not depend on the number of devices.

    Args:
        n_prompts: reference prompts that are run at a time.
        n_pos: positions that the background must have.

    Raises:
        DataError: the reference prompts are too short for positional means.
    """
    sources = _list_sources(model)
    batches = [
        make_batch(reference, rows, sources=sources) for rows in cut_prompts(reference, n_prompts)
    ]
    # where there are no corrupted prompts, means are taken over the clean ones
    parts = [batch.corrupted or batch.inputs for batch in batches]
    written = [run_writers(model, part) for part in parts]
    return run_shared_background(model, written, jnp.asarray(reference.mask), ablation, n_pos)


def run_whole_model(
    model: Transformer, prompts: Prompts, *, at_once: int = 64
) -> Float[np.ndarray, "prompts scored vocab"]:
    """Logits of the untouched model at the scored positions of clean prompts.

    Args:
        at_once: prompts in a launch; most searches have fewer in all, and run the same program.
    """
    parts = [
        np.asarray(run_full(model, make_batch(prompts, rows).inputs), np.float32)
        for rows in cut_prompts(prompts, at_once)
    ]
    return np.concatenate(parts)


def cut_prompts(prompts: Prompts, size: int) -> list[slice]:
    """Slices of that many prompts; the last one may be shorter."""
    return [slice(start, start + size) for start in range(0, len(prompts), size)]
