"""Heads that are cut by where they fetch: which parts each layer has, and what they write."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.graph.graph import Graph


class LayerSources(NamedTuple):
    """The named parts of one layer's heads, or of all layers stacked, filled up to as many as the
    most have.

    Attributes:
        heads: whose part each is; 0 where a layer has no more.
        names: the number of its source among `HeadSources.names`; their number where a layer has no
            more.
    """

    heads: Int[Array, "*layers most"]
    names: Int[Array, "*layers most"]


class HeadSources(eqx.Module):
    """All parts of a model's split heads.

    Attributes:
        layers: which parts are whose, layers stacked.
        names: the sources, each once; prompts say where they stand, in this order.
    """

    layers: LayerSources
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def most(self) -> int:
        """How many named parts each layer has, those that fill up among them."""
        return self.layers.heads.shape[-1]


def make_head_sources(graph: Graph) -> HeadSources | None:
    """The parts of a graph's split heads; None if all are whole."""
    if not graph.head_splits:
        return None
    names = list_sources(graph)
    shape = graph.n_layers, graph.n_head_slots - graph.n_heads
    heads, numbers = np.zeros(shape, np.int32), np.full(shape, len(names), np.int32)
    used = [0] * graph.n_layers
    for split in graph.head_splits:
        start = used[split.layer]
        used[split.layer] = end = start + len(split.sources)
        heads[split.layer, start:end] = split.head
        numbers[split.layer, start:end] = [names.index(name) for name in split.sources]
    return HeadSources(LayerSources(jnp.asarray(heads), jnp.asarray(numbers)), names)


def list_sources(graph: Graph) -> tuple[str, ...]:
    """The sources that a graph's heads are cut into, each once."""
    return tuple(dict.fromkeys(name for split in graph.head_splits for name in split.sources))


def find_keys(
    own: LayerSources, at: Int[Array, "batch names"], n_keys: int
) -> Float[Array, "most batch keys"]:
    """1 at the keys of each of a layer's parts.

    Args:
        at: where each source stands in each prompt.
    """
    nowhere = jnp.full((len(at), 1), -1, at.dtype)  # where a layer has no more parts
    places = jnp.concatenate([at, nowhere], axis=1)[:, own.names].T  # [most, batch]
    return (places[..., None] == jnp.arange(n_keys)).astype(jnp.float32)
