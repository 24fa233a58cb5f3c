"""How much fits: the memory of one evaluation, and how many of them to run at a time."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import jax
import numpy as np

from circuitgraph.engine.devices import prompt_ways
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec

_FLOAT = 4  # in reduced precisions as well: what is compared and summed is wider, and an estimate may be too high
GROUPS = 16  # groups of lanes that one launch of the frontier takes, one after the other
# numbers that one node's value should have over all lanes; more makes nothing faster here
_CPU_LANES = 2**18
_GPU_LANES = 2**25
_CPU_TARGET = 2**30  # a bigger launch gains nothing on a CPU once its work outgrows the caches


@dataclass(frozen=True)
class BatchSizes:
    """Chunk sizes that respect a memory limit on each device; all but ``bytes_needed`` count all
    devices together.

    Attributes:
        prompts: prompts in one chunk.
        masks: masks that one launch takes, at most.
        lanes: masks computed side by side within a launch; groups of lanes follow each other. One
            for a CPU, whose cores a single mask keeps busy, many for an accelerator.
        frontier_lanes: candidates that the frontier computes side by side; 0 if what it must keep
            does not fit.
        keeps: whether the replacements of all prompts are kept; else they are made anew for each
            launch.
        bytes_needed: estimated peak on each device, parameters left out.
        devices: how many share the work.
    """

    prompts: int
    masks: int
    lanes: int
    frontier_lanes: int
    keeps: bool
    bytes_needed: int
    devices: int

    @property
    def prompts_per_device(self) -> int:
        """Prompts of a whole chunk that one device has."""
        return self.prompts // prompt_ways(self.prompts, self.devices)


def bytes_per_row(spec: Spec, graph: Graph, n_pos: int) -> int:
    """Memory of one mask on one prompt: writers' values twice (kept and updated), and one layer's
    insides.
    """
    values = 2 * len(graph.writers) * n_pos * spec.d_model
    inputs = 6 * spec.n_heads * n_pos * spec.d_model
    attention = spec.n_heads * n_pos * (3 * spec.d_head + 2 * n_pos)
    # an input's queries of all heads, one input at a time
    if spec.qk_norm_over == "width" and spec.qk_norm is not None:
        attention += 2 * spec.n_heads * n_pos * spec.d_head
    mlp = (3 if spec.gated else 2) * n_pos * (spec.d_mlp or 0)
    masks = len(graph.readers) * len(graph.writers)
    return _FLOAT * (values + inputs + attention + mlp + 2 * spec.d_vocab_out + masks)


def bytes_held(spec: Spec, graph: Graph, n_prompts: int, n_pos: int) -> int:
    """Memory of every writer's replacement on every prompt, and of what it adds up to at each
    layer.
    """
    return _FLOAT * (len(graph.writers) + 2 * spec.n_layers + 1) * n_prompts * n_pos * spec.d_model


def memory_limit() -> int:
    """Bytes to take of each device by default: most of an accelerator, a modest part of a
    computer's memory.

    It depends on what is built in, not on what is free just now, so that the same search is cut the
    same way.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return int(0.6 * (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30))
    if not hasattr(os, "sysconf"):  # Windows
        return 2 * _CPU_TARGET
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min(half // jax.local_device_count(), 4 * _CPU_TARGET)


def choose_batch_sizes(
    spec: Spec,
    graph: Graph,
    n_prompts: int,
    n_pos: int,
    limit: int | None = None,
    devices: int | None = None,
) -> BatchSizes:
    """Chunk sizes for that many prompts of that many positions.

    Args:
        limit: in bytes, for each device; by default `memory_limit`.
        devices: how many share the work; by default all that there are.

    Raises:
        ArgumentError: one mask on one prompt does not fit.
    """
    limit = memory_limit() if limit is None else limit
    devices = jax.device_count() if devices is None else devices
    row, held = bytes_per_row(spec, graph, n_pos), bytes_held(spec, graph, 1, n_pos)
    if row + held > limit:
        raise ArgumentError(
            f"One evaluation of one prompt of {n_pos} tokens needs about {(row + held) / 2**20:.0f} "
            f"MiB, but the limit is {limit / 2**20:.0f} MiB. Use shorter prompts or a higher limit."
        )
    on_cpu = jax.devices()[0].platform == "cpu"
    # all of them on one device, at the worst
    keeps = held * n_prompts <= min(limit // 2, limit - row)
    room = limit - held * n_prompts if keeps else limit
    target = min(room, _CPU_TARGET) if on_cpu else room
    prompts = chunk_size(n_prompts, max(1, target // (row if keeps else row + held)), devices)
    own = prompts // prompt_ways(prompts, devices)
    all_held = held * (n_prompts if keeps else own)
    lanes = 1 if on_cpu else max(1, min(256, (limit - all_held) // (row * own)))
    last = n_prompts % prompts or prompts
    # by what lanes are shared out
    ways = math.lcm(*(devices // prompt_ways(n, devices) for n in (prompts, last)))
    masks = (64 if on_cpu else 4 * lanes) * ways
    all_own = (n_prompts - last) // prompts * own + last // prompt_ways(last, devices)
    candidates = ways * frontier_lanes(spec, graph, (all_own, own, n_pos), limit)
    return BatchSizes(
        prompts, masks, ways * lanes, candidates, keeps, row * own * lanes + all_held, devices
    )


def chunk_size(n_prompts: int, most: int, devices: int) -> int:
    """Prompts in a chunk: as many as there can be if no device has more than ``most`` of a chunk,
    the last included.
    """

    def fits(n: int) -> bool:
        return n // prompt_ways(n, devices) <= most

    sizes = range(min(n_prompts, most * devices), 0, -1)
    return next(n for n in sizes if fits(n) and (n_prompts % n == 0 or fits(n_prompts % n)))


def frontier_lanes(spec: Spec, graph: Graph, shape: tuple[int, int, int], limit: int) -> int:
    """How many candidates the frontier takes side by side on a device, a power of two; 0 if they do
    not fit.

    Its state is every node's value in the clean run and under the mask of the moment, its
    replacement, and all streams without edges and clean. A candidate has slots for all nodes that
    it could change, at the worst.

    Args:
        shape: prompts in all, and in a chunk, as far as the device has them; positions.
    """
    n_prompts, in_chunk, n_pos = shape
    nodes = len(graph.writers) + spec.n_layers * spec.n_heads * graph.coupled
    value = _FLOAT * n_pos * spec.d_model
    state = (3 * nodes + 4 * spec.n_layers + 3) * value * n_prompts
    if state > limit // 2:
        return 0
    fits = (limit - state) // (2 * (nodes + 1) * value * in_chunk)
    if fits == 0:
        return 0
    useful = (_CPU_LANES if jax.devices()[0].platform == "cpu" else _GPU_LANES) // (
        in_chunk * n_pos * spec.d_model
    )
    return 1 << int(np.log2(min(fits, max(2, useful), 64)))
