"""Which tokens many patched runs have to compute, packed into rows side by side.

A patch changes a stream at some positions, and nothing before them. So a patched run needs the
tokens from its first patched position to the last scored one; all others are the unpatched run's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

MOST_ROWS = 192  # of a launch, where a run has not more by itself: rows look at each other's keys


class Patch(NamedTuple):
    """One patched run of every prompt.

    Attributes:
        component: number of the values that are put in.
        at: the patched position of each prompt; None for all positions from ``Places.first`` on.
    """

    component: int
    at: Int[np.ndarray, " batch"] | None


class Places(NamedTuple):
    """What is known of the prompts' positions.

    Attributes:
        first: before it both sides are alike, so that a patch does nothing there.
        scored: whose logits are compared.
        length: of each prompt; ``causal``: whether nobody sees later tokens.
    """

    first: Int[np.ndarray, " batch"]
    scored: Int[np.ndarray, "batch scored"]
    length: Int[np.ndarray, " batch"]
    causal: bool


class PatchRows(NamedTuple):
    """Tokens of patched runs.

    Attributes:
        token: the position of each row's token; 0 where a row fills up.
        run: the patched run that it belongs to; -1 where it fills up.
        start: the first position that this run computes.
        is_patched: whether the run's component is put in here.
        component: whose values those are.
        scored: the row of each scored position of each run; -1 where the patch does not reach it.
    """

    token: Int[Array, "batch rows"]
    run: Int[Array, "batch rows"]
    start: Int[Array, "batch rows"]
    is_patched: Bool[Array, "batch rows"]
    component: Int[Array, " rows"]
    scored: Int[Array, "batch runs scored"]


def pack_rows(patches: Sequence[Patch], places: Places) -> Iterator[tuple[slice, PatchRows]]:
    """Launches of some patches each, all of one shape, with which patches they are."""
    if not patches:
        return
    sizes = [_count_rows(patch, places) for patch in patches]
    cuts, total = [0], 0
    for i, size in enumerate(sizes):
        if total and total + size > MOST_ROWS:
            cuts.append(i)
            total = 0
        total += size
    slices = [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(patches)], strict=True)]
    n_rows = max(sum(sizes[part]) for part in slices)
    n_runs = max(part.stop - part.start for part in slices)
    for part in slices:
        yield part, _pack_launch(patches[part], sizes[part], places, n_rows, n_runs)


def is_moot(patch: Patch, places: Places) -> bool:
    """Whether a patch changes nothing that is scored, in any prompt: then it need not be run."""
    if patch.at is None:
        return False
    moot = patch.at < places.first
    if places.causal:
        moot = moot | (patch.at > places.scored.max(axis=1))
    return bool(moot.all())


def _bound_run(patch: Patch, places: Places) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last position that a run computes, of each prompt."""
    if not places.causal:
        return np.zeros_like(places.length), places.length - 1
    start = places.first if patch.at is None else np.maximum(patch.at, places.first)
    return start, places.scored.max(axis=1)


def _count_rows(patch: Patch, places: Places) -> int:
    start, last = _bound_run(patch, places)
    return max(int((last - start).max()) + 1, 1)


def _pack_launch(
    patches: Sequence[Patch], sizes: Sequence[int], places: Places, n_rows: int, n_runs: int
) -> PatchRows:
    n_prompts, n_scored = places.scored.shape
    token, run, start = (np.full((n_prompts, n_rows), fill, np.int32) for fill in (0, -1, 0))
    is_patched, component = np.zeros((n_prompts, n_rows), bool), np.zeros(n_rows, np.int32)
    scored = np.full((n_prompts, n_runs, n_scored), -1, np.int32)
    offset = 0
    for number, (patch, size) in enumerate(zip(patches, sizes, strict=True)):
        rows = slice(offset, offset + size)
        first, last = _bound_run(patch, places)
        tokens = first[:, None] + np.arange(size)
        is_real = tokens <= last[:, None]
        at = places.first[:, None] <= tokens if patch.at is None else tokens == patch.at[:, None]
        token[:, rows], run[:, rows] = np.where(is_real, tokens, 0), np.where(is_real, number, -1)
        start[:, rows], is_patched[:, rows] = first[:, None], at & is_real
        component[rows] = patch.component
        back = places.scored - first[:, None]
        scored[:, number] = np.where((back >= 0) & (back < size), offset + back, -1)
        offset += size
    return PatchRows(*map(jax.device_put, (token, run, start, is_patched, component, scored)))
