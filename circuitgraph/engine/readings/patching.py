"""Patched runs of prompts, launch by launch: what goes in is named, and metrics come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.batch import Batch, Inputs
from circuitgraph.engine.readings.patched import (
    HeldPart,
    KeptRun,
    Kind,
    Part,
    keep_run,
    measure_kept,
    patch_layer,
    run_patched,
    write_parts,
)
from circuitgraph.engine.readings.rows import Patch, Places, is_moot, pack_rows
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets

_COMPONENTS_AT_ONCE = 32  # whose patched streams are alive at a time


@dataclass(frozen=True, eq=False)
class Patching:
    """Prompts whose run, ``base``, gets values of another run of them, ``donor``.

    Attributes:
        places: what is known of positions; see `Places`.
    """

    model: Transformer
    inputs: Inputs
    targets: Targets
    base: KeptRun
    donor: KeptRun
    places: Places
    metrics: tuple[Metric, ...]

    def measure_base(self) -> Float[np.ndarray, "metrics batch"]:
        """The metrics of the run without a patch."""
        return self._measure_run(self.base)

    def measure_donor(self) -> Float[np.ndarray, "metrics batch"]:
        """The metrics of the run that values come from."""
        return self._measure_run(self.donor)

    def measure_patches(
        self,
        kind: Kind,
        layer: int,
        numbers: Sequence[int],
        at: Int[np.ndarray, "batch places"] | None,
    ) -> Float[np.ndarray, "components places metrics batch"]:
        """The metrics with one component of one layer patched, at one place or everywhere.

        Args:
            layer: of components; for the residual stream that before it, up to the number of
                layers.
            numbers: of heads or neurons; one number, which is not looked at, of other kinds.
            at: each of these positions by itself; if None all of them together, as one place.
        """
        return np.concatenate(
            [
                self._measure_some(kind, layer, numbers[i : i + _COMPONENTS_AT_ONCE], at)
                for i in range(0, len(numbers), _COMPONENTS_AT_ONCE)
            ]
        )

    def measure_windows(
        self, part: Part, first: int, end: int, at: Int[np.ndarray, "batch places"]
    ) -> Float[np.ndarray, "places metrics batch"]:
        """The metrics with what a part of several layers writes put in, at each place by itself.

        Args:
            first, end: the layers from ``first`` on, before ``end``.
        """
        held = HeldPart(self._written[part], np.int32(first), np.int32(end))
        patches = [Patch(0, place) for place in at.T]
        return self._run_live(patches, self.base.streams[first][None], first, part, held)

    @cached_property
    def _written(self) -> dict[Part, Any]:
        parts: tuple[Part, ...] = ("attention", "mlp")
        return {part: write_parts(self.model, self.donor, part) for part in parts}

    def _measure_some(
        self, kind: Kind, layer: int, numbers: Sequence[int], at: np.ndarray | None
    ) -> np.ndarray:
        places = [None] if at is None else list(at.T)
        patches = [Patch(i, place) for i in range(len(numbers)) for place in places]
        patched, first = self.donor.streams[layer][None], layer
        if kind != "residual":
            chosen, first = jax.device_put(np.array(numbers, np.int32)), layer + 1
            sides = (self.base, self.donor, self.inputs)
            patched = patch_layer(self.model, *sides, np.int32(layer), kind, chosen)
        values = self._run_live(patches, patched, first)
        return values.reshape(len(numbers), len(places), *values.shape[1:])

    def _run_live(
        self,
        patches: Sequence[Patch],
        patched: Array,
        first: int,
        part: Part | None = None,
        held: HeldPart | None = None,
    ) -> Float[np.ndarray, "patches metrics batch"]:
        """Run the patches that can do something; the others leave the metrics as they are."""
        values = np.repeat(self.measure_base()[None], len(patches), axis=0)
        live = [i for i, patch in enumerate(patches) if not is_moot(patch, self.places)]
        sides = (self.model, self.inputs, self.targets, self.base)
        for which, rows in pack_rows([patches[i] for i in live], self.places):
            run = run_patched(*sides, patched, rows, np.int32(first), self.metrics, part, held)
            values[live[which]] = np.asarray(run)[: which.stop - which.start]
        return values

    def _measure_run(self, run: KeptRun) -> np.ndarray:
        return np.asarray(measure_kept(self.model, self.inputs, self.targets, run, self.metrics))


def pair_sides(
    model: Transformer, batch: Batch, metrics: tuple[Metric, ...], *, noising: bool
) -> Patching:
    """Patches between both sides of a batch.

    Args:
        noising: put the corrupted run's values into the clean one; else the other way round.
    """
    assert batch.corrupted is not None  # noqa: S101 - who asks has checked it
    sides = [batch.inputs, batch.corrupted]
    differs = np.asarray(sides[0].tokens != sides[1].tokens) & np.asarray(sides[0].mask)
    clean, corrupted = (keep_run(model, side) for side in sides)
    base, donor = (clean, corrupted) if noising else (corrupted, clean)
    inputs = sides[0] if noising else sides[1]
    places = find_places(model, inputs, differs)
    return Patching(model, inputs, batch.targets, base, donor, places, metrics)


def find_places(model: Transformer, inputs: Inputs, differs: np.ndarray) -> Places:
    """What is known of positions, where the embeddings of both runs differ at these, [batch, pos],
    at one at least of each prompt.
    """
    mask = np.asarray(inputs.mask)
    return Places(
        differs.argmax(axis=1), np.asarray(inputs.score_at), mask.sum(axis=1), model.spec.causal
    )
