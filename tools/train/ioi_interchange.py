"""Masked runs in which every edge carries the clean prompt or a donor, and what the program says to
them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ioi_program import TRUE, intended
from ioi_prompts import Pairs
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import masked_logits, writer_values
from circuitgraph.graph.graph import Graph
from circuitgraph.models.transformer import Transformer


class Question(NamedTuple):
    """Groups of pairs, the mask of each group, and the probabilities that its prompts should have
    at the end.
    """

    clean: Inputs
    donor: Inputs
    masks: Float[Array, "groups edges"]
    wanted: Float[Array, "groups batch vocab"]


def true_edges(graph: Graph) -> np.ndarray:
    """The numbers of the edges of `ioi_program.TRUE`."""
    return np.array([graph.edge_index(edge) for edge in TRUE])


def random_mask(rng: np.random.Generator, graph: Graph, true: np.ndarray, kind: int) -> np.ndarray:
    """One mask: everything (0); the true edges and any others (1-3); some true edges and any others
    (4-7).
    """
    if kind == 0:
        return np.ones(graph.n_edges, bool)
    density = rng.choice([0.0, rng.random(), 1.0], p=[0.4, 0.4, 0.2])
    mask = rng.random(graph.n_edges) < density
    mask[true] = True
    if kind > 3:
        n_dropped = int(rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.1, 0.1]))
        mask[rng.choice(true, n_dropped, replace=False)] = False
    return mask


def inputs_of(tokens: np.ndarray, length: np.ndarray) -> Inputs:
    """Prompts of these lengths, padded on the right."""
    positions = np.broadcast_to(np.arange(tokens.shape[-1], dtype=np.int32), tokens.shape)
    parts = (
        tokens.astype(np.int32),
        positions < length[..., None],
        positions,
        (length - 1).astype(np.int32),
    )
    return Inputs(*map(jnp.asarray, parts))


def question(pairs: Pairs, masks: np.ndarray, true: np.ndarray, n_tokens: int) -> Question:
    """The pairs in as many equal groups as there are masks."""
    n_groups = len(masks)
    split = [pairs[rows] for rows in np.arange(len(pairs.length)).reshape(n_groups, -1)]
    wanted = [
        intended(p.clean.people, p.donor.people, m[true], n_tokens)
        for p, m in zip(split, masks, strict=True)
    ]
    clean, donor = (
        inputs_of(
            side.tokens.reshape(n_groups, -1, side.tokens.shape[1]),
            pairs.length.reshape(n_groups, -1),
        )
        for side in (pairs.clean, pairs.donor)
    )
    return Question(clean, donor, jnp.asarray(masks, jnp.float32), jnp.asarray(np.stack(wanted)))


def answers(model: Transformer, grid: Grid, asked: Question) -> Float[Array, "groups batch vocab"]:
    """Logits of each group under its mask; absent edges carry the donor, through which gradients
    flow too.
    """

    def one(
        clean: Inputs, donor: Inputs, mask: Float[Array, " edges"]
    ) -> Float[Array, "batch vocab"]:
        return masked_logits(
            model, mask, grid, Background.of(model, writer_values(model, donor)), clean
        )

    return jax.vmap(one)(asked.clean, asked.donor, asked.masks)


def loss_of(model: Transformer, grid: Grid, asked: Question) -> Float[Array, ""]:
    """Mean KL divergence from what is wanted to what the model says, in nats."""
    said = jax.nn.log_softmax(answers(model, grid, asked))
    wanted = asked.wanted
    return jnp.sum(wanted * (jnp.log(jnp.where(wanted > 0, wanted, 1.0)) - said), axis=-1).mean()
