"""How much fits: the memory of one evaluation, and how many of them to run at a time."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental import multihost_utils

from circuitgraph.engine.devices import count_prompt_parts
from circuitgraph.engine.tuning import (
    CPU_LANE_NUMBERS,
    CPU_LAUNCH_BYTES,
    CPU_LAUNCH_OPERATIONS,
    FEWEST_LANES,
    GPU_LANE_NUMBERS,
    GPU_LAUNCH_OPERATIONS,
    MOST_LANES,
    OWN_INPUTS_AT_ONCE,
)
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec

# A gradient by a mask keeps writers' values and derivatives at readers, of which there are up to
# three for each writer, where a masked run has the values twice; and it pulls each layer back.
_ROWS_OF_A_GRADIENT = 2

# bytes of a number in float32, in which patterns and logits are at the least
_FLOAT = 4


@dataclass(frozen=True)
class BatchSizes:
    """Chunk sizes that respect a memory limit on each device.

    All but ``bytes_needed`` count all devices together.

    Attributes:
        prompts: prompts in one chunk.
        gradient_prompts: how many of them a gradient by a mask takes at a time; at the least one,
            which may need more than the limit where one evaluation is just within it.
        masks: masks that one launch takes, at most.
        lanes: masks computed side by side within a launch; groups of lanes follow each other. One
            for a CPU, whose cores a single mask keeps busy, many for an accelerator.
        frontier_lanes: candidates that the frontier computes side by side; 0 if what it must keep
            does not fit.
        keeps: whether the replacements of all prompts are kept; else they are made anew for each
            launch.
        bytes_needed: estimated peak of masked runs on each device, parameters left out.
        devices: how many share the work.
    """

    prompts: int
    gradient_prompts: int
    masks: int
    lanes: int
    frontier_lanes: int
    keeps: bool
    bytes_needed: int
    devices: int

    @property
    def prompts_per_device(self) -> int:
        """Prompts of a whole chunk that one device has."""
        return self.prompts // count_prompt_parts(self.prompts, self.devices)


def estimate_row_bytes(
    spec: Spec, graph: Graph, n_pos: int, n_scored: int = 1, itemsize: int = _FLOAT
) -> int:
    """Bytes of one mask on one prompt: writers' values twice (kept and updated), and one layer.

    Args:
        itemsize: bytes of a number of the model's precision.
    """
    values = 2 * n_pos * count_numbers(spec, graph)
    values += n_pos * graph.n_units  # weighed for one reader at a time
    if graph.has_own_inputs:
        values += n_pos * OWN_INPUTS_AT_ONCE * (2 * spec.d_model + graph.n_units)
    inputs = 6 * spec.n_heads * n_pos * spec.d_model
    attention = graph.n_head_slots * n_pos * 3 * spec.d_head
    # an input's queries of all heads, one input at a time
    if spec.qk_norm_over == "width" and spec.qk_norm is not None:
        attention += 2 * spec.n_heads * n_pos * spec.d_head
    mlp = (3 if spec.gated else 2) * n_pos * (spec.d_mlp or 0)
    masks = len(graph.readers) * len(graph.writers)
    patterns_and_logits = 2 * graph.n_head_slots * n_pos**2 + 2 * n_scored * spec.d_vocab_out
    own = itemsize * (values + inputs + attention + mlp + masks)
    return own + max(_FLOAT, itemsize) * patterns_and_logits


def estimate_replacement_bytes(
    spec: Spec, graph: Graph, n_prompts: int, n_pos: int, itemsize: int = _FLOAT
) -> int:
    """Bytes of every writer's replacement on every prompt, and of their sums at each layer."""
    streams = (2 * spec.n_layers + 1) * spec.d_model
    return itemsize * (count_numbers(spec, graph) + streams) * n_prompts * n_pos


def count_numbers(spec: Spec, graph: Graph) -> int:
    """Numbers of all writers' values at one position: a vector of each node, one of each unit."""
    return graph.n_vectors * spec.d_model + graph.n_units


def memory_limit(cut_weights: int = 0) -> int:
    """Bytes to take of each device by default.

    Args:
        cut_weights: bytes of them on a device, where a model is cut over devices because it is too
            large for one: they may leave less than is taken otherwise.

    That is most of an accelerator's memory, and a modest part of a computer's. It depends on what
    is built in, not on what is free just now, so that the same search is cut the same way.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        of_device = (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30)
        return _agree_on_limit(
            max(0, min(int(0.6 * of_device), int(0.9 * of_device) - cut_weights))
        )
    if not hasattr(os, "sysconf"):  # Windows
        return 2 * CPU_LAUNCH_BYTES
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return _agree_on_limit(min(half // jax.local_device_count(), 4 * CPU_LAUNCH_BYTES))


def _agree_on_limit(limit: int) -> int:
    """The least limit of all processes, so that all cut the work in the same way."""
    if jax.process_count() == 1:
        return limit
    # in MiB, for numbers of 32 bits
    return int(multihost_utils.process_allgather(np.int32(limit >> 20)).min()) << 20


def launch_operations() -> int:
    """Operations of one launch of the frontier, about, at most."""
    is_cpu = jax.devices()[0].platform == "cpu"
    return CPU_LAUNCH_OPERATIONS if is_cpu else GPU_LAUNCH_OPERATIONS


def choose_batch_sizes(
    spec: Spec,
    graph: Graph,
    n_prompts: int,
    n_pos: int,
    limit: int | None = None,
    devices: int | None = None,
    n_scored: int = 1,
    at_once: int | None = None,
    itemsize: int = _FLOAT,
    cut_weights: int = 0,
) -> BatchSizes:
    """Chunk sizes for that many prompts of that many positions.

    Args:
        limit: in bytes, for each device; by default `memory_limit`.
        devices: how many share the prompts and masks; by default all that there are, or one where
            weights are cut: then all devices have a part in each mask on each prompt.
        n_scored: scored positions of each prompt.
        at_once: prompts of a chunk, if that fits and makes all chunks equal: as many as another
            experiment has, whose compiled programs then serve.
        itemsize: bytes of a number of the model's precision.
        cut_weights: as of `memory_limit`.

    Raises:
        ArgumentError: one mask on one prompt does not fit.
    """
    limit = memory_limit(cut_weights) if limit is None else limit
    if devices is None:
        devices = 1 if cut_weights else jax.device_count()
    row = estimate_row_bytes(spec, graph, n_pos, n_scored, itemsize)
    held = estimate_replacement_bytes(spec, graph, 1, n_pos, itemsize)
    if row + held > limit:
        raise ArgumentError(
            f"One evaluation of one prompt of {n_pos} tokens needs about "
            f"{(row + held) / 2**20:.0f} MiB, but the limit is {limit / 2**20:.0f} MiB. Use "
            "shorter prompts or a higher limit."
        )
    on_cpu = jax.devices()[0].platform == "cpu"
    # all of them on one device, at the worst
    keeps = held * n_prompts <= min(limit // 2, limit - row)
    free = limit - held * n_prompts if keeps else limit
    target = min(free, CPU_LAUNCH_BYTES) if on_cpu else free
    prompts = choose_chunk_size(
        n_prompts, max(1, target // (row if keeps else row + held)), devices
    )
    if at_once is not None and at_once < prompts and n_prompts % at_once == 0:
        prompts = at_once
    own = prompts // count_prompt_parts(prompts, devices)
    all_held = held * (n_prompts if keeps else own)
    of_gradient = _ROWS_OF_A_GRADIENT * row
    if graph.has_own_inputs:  # derivatives at the inputs of all units, and of the largest layer's
        of_gradient += 2 * itemsize * graph.n_units * n_pos * spec.d_model
    most = max(1, (limit - all_held) // of_gradient)
    for_gradient = choose_chunk_size(prompts, most, devices)
    lanes = 1 if on_cpu else max(1, min(256, (limit - all_held) // (row * own)))
    last = n_prompts % prompts or prompts
    # devices among which lanes are shared out, in whole chunks and in the last one
    ways = math.lcm(*(devices // count_prompt_parts(n, devices) for n in (prompts, last)))
    masks = (64 if on_cpu else 4 * lanes) * ways
    # prompts of all chunks that one device has
    all_own = (n_prompts - last) // prompts * own + last // count_prompt_parts(last, devices)
    candidates = ways * choose_frontier_lanes(spec, graph, (all_own, own, n_pos), limit, itemsize)
    needed = row * own * lanes + all_held
    return BatchSizes(
        prompts, for_gradient, masks, ways * lanes, candidates, keeps, needed, devices
    )


def choose_chunk_size(n_prompts: int, most: int, devices: int) -> int:
    """Prompts in a chunk: as many as leave no device more than ``most`` of any chunk."""

    def fits(n: int) -> bool:
        return n // count_prompt_parts(n, devices) <= most

    sizes = range(min(n_prompts, most * devices), 0, -1)
    return next(n for n in sizes if fits(n) and (n_prompts % n == 0 or fits(n_prompts % n)))


def choose_frontier_lanes(
    spec: Spec, graph: Graph, shape: tuple[int, int, int], limit: int, itemsize: int = _FLOAT
) -> int:
    """How many candidates the frontier takes side by side on a device; 0 if they do not fit.

    The number is a power of two. The frontier's state is every node's value in the clean run and
    under the mask of the moment, its replacement, and all streams without edges and clean. At the
    worst a candidate has slots for all nodes.

    Args:
        shape: prompts in all, and in a chunk, as far as the device has them; positions.
        itemsize: bytes of a number of the model's precision.
    """
    n_prompts, in_chunk, n_pos = shape
    raws = spec.n_layers * spec.n_heads * graph.coupled * spec.d_model
    values = itemsize * n_pos * (count_numbers(spec, graph) + raws)
    streams = itemsize * n_pos * (4 * spec.n_layers + 3) * spec.d_model
    state = (3 * values + streams) * n_prompts
    if state > limit // 2:
        return 0
    own = values + itemsize * n_pos * (spec.d_model + graph.n_units)
    fits = (limit - state) // (2 * own * in_chunk)
    if fits == 0:
        return 0
    on_cpu = jax.devices()[0].platform == "cpu"
    numbers = CPU_LANE_NUMBERS if on_cpu else GPU_LANE_NUMBERS
    useful = numbers // (in_chunk * n_pos * spec.d_model)
    return 1 << int(np.log2(min(fits, max(FEWEST_LANES, useful), MOST_LANES)))
