"""How much fits: the memory of one evaluation, and how many of them to run at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass

import jax

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.spec import Spec

_FLOAT = 4  # in reduced precisions as well: what is compared and summed is wider, and an estimate may be too high
_CPU_TARGET = 2**30  # a bigger launch gains nothing on a CPU once its work outgrows the caches


@dataclass(frozen=True)
class Plan:
    """Chunk sizes that respect a memory limit.

    Attributes:
        prompts: prompts in one chunk.
        masks: masks that one launch takes, at most.
        lanes: masks computed side by side within a launch; groups of lanes follow each other. One on a CPU,
            whose cores a single mask keeps busy, many on an accelerator.
        keeps: whether the replacements of all prompts are kept; else they are made anew for each launch.
        bytes_needed: estimated peak, parameters left out.
    """

    prompts: int
    masks: int
    lanes: int
    keeps: bool
    bytes_needed: int


def bytes_per_row(spec: Spec, graph: Graph, n_pos: int) -> int:
    """Memory of one mask on one prompt: writers' values twice (kept and updated), and one layer's insides."""
    values = 2 * len(graph.writers) * n_pos * spec.d_model
    inputs = 6 * spec.n_heads * n_pos * spec.d_model
    attention = spec.n_heads * n_pos * (3 * spec.d_head + 2 * n_pos)
    if (
        spec.qk_norm_over == "width" and spec.qk_norm is not None
    ):  # an input's queries of all heads, one input at a time
        attention += 2 * spec.n_heads * n_pos * spec.d_head
    mlp = (3 if spec.gated else 2) * n_pos * (spec.d_mlp or 0)
    masks = len(graph.readers) * len(graph.writers)
    return _FLOAT * (values + inputs + attention + mlp + 2 * spec.d_vocab_out + masks)


def bytes_held(spec: Spec, graph: Graph, n_prompts: int, n_pos: int) -> int:
    """Memory of every writer's replacement on every prompt, and of what it adds up to at each layer."""
    return _FLOAT * (len(graph.writers) + 2 * spec.n_layers + 1) * n_prompts * n_pos * spec.d_model


def memory_limit() -> int:
    """Bytes to take by default: most of an accelerator, a modest part of a computer's memory.

    It depends on what is built in, not on what is free just now, so that the same search is cut the same way.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return int(0.6 * (device.memory_stats() or {}).get("bytes_limit", 8 * 2**30))
    if not hasattr(os, "sysconf"):  # Windows
        return 2 * _CPU_TARGET
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, 4 * _CPU_TARGET)


def plan(spec: Spec, graph: Graph, n_prompts: int, n_pos: int, limit: int | None = None) -> Plan:
    """Chunk sizes for that many prompts of that many positions.

    Raises:
        ArgumentError: one mask on one prompt does not fit.
    """
    limit = memory_limit() if limit is None else limit
    row, held = bytes_per_row(spec, graph, n_pos), bytes_held(spec, graph, 1, n_pos)
    if row + held > limit:
        raise ArgumentError(
            f"One evaluation of one prompt of {n_pos} tokens needs about {(row + held) / 2**20:.0f} MiB, but the limit "
            f"is {limit / 2**20:.0f} MiB. Use shorter prompts or a higher limit."
        )
    on_cpu = jax.devices()[0].platform == "cpu"
    keeps = held * n_prompts <= min(limit // 2, limit - row)
    room = limit - held * n_prompts if keeps else limit
    target = min(room, _CPU_TARGET) if on_cpu else room
    prompts = min(n_prompts, max(1, target // (row if keeps else row + held)))
    all_held = held * (n_prompts if keeps else prompts)
    lanes = 1 if on_cpu else max(1, min(256, (limit - all_held) // (row * prompts)))
    masks = 64 if on_cpu else 4 * lanes
    return Plan(prompts, masks, lanes, keeps, row * prompts * lanes + all_held)
