"""Masked runs in which an edge carries the clean prompt or a donor, and the program's answers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ioi_program import TRUE, compute_answer
from ioi_prompts import Pairs
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.forward import compute_masked_logits, compute_writer_values
from circuitgraph.graph.graph import Graph
from circuitgraph.models.transformer import Transformer


class Question(NamedTuple):
    """Groups of pairs, a mask for each group, and the right probabilities at the end of prompts."""

    clean: Inputs
    donor: Inputs
    masks: Float[Array, "groups edges"]
    probabilities: Float[Array, "groups batch vocab"]


def number_true_edges(graph: Graph) -> np.ndarray:
    """The numbers of the edges of `ioi_program.TRUE`."""
    return np.array([graph.edge_index(edge) for edge in TRUE])


def draw_mask(rng: np.random.Generator, graph: Graph, true: np.ndarray, kind: int) -> np.ndarray:
    """A mask: all edges (0); all true edges and some others (1-3); some of both (4-7)."""
    if kind == 0:
        return np.ones(graph.n_edges, bool)
    density = rng.choice([0.0, rng.random(), 1.0], p=[0.4, 0.4, 0.2])
    mask = rng.random(graph.n_edges) < density
    mask[true] = True
    if kind > 3:
        n_dropped = int(rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.1, 0.1]))
        mask[rng.choice(true, n_dropped, replace=False)] = False
    return mask


def make_inputs(tokens: np.ndarray, length: np.ndarray) -> Inputs:
    """Prompts of these lengths, padded on the right."""
    positions = np.broadcast_to(np.arange(tokens.shape[-1], dtype=np.int32), tokens.shape)
    parts = (
        tokens.astype(np.int32),
        positions < length[..., None],
        positions,
        (length - 1)[..., None].astype(np.int32),  # one scored position
    )
    return Inputs(*map(jnp.asarray, parts))


def draw_question(pairs: Pairs, masks: np.ndarray, true: np.ndarray, n_tokens: int) -> Question:
    """The pairs in as many equal groups as there are masks."""
    n_groups = len(masks)
    split = [pairs[rows] for rows in np.arange(len(pairs.length)).reshape(n_groups, -1)]
    probabilities = [
        compute_answer(p.clean.people, p.donor.people, m[true], n_tokens)
        for p, m in zip(split, masks, strict=True)
    ]
    clean, donor = (
        make_inputs(
            side.tokens.reshape(n_groups, -1, side.tokens.shape[1]),
            pairs.length.reshape(n_groups, -1),
        )
        for side in (pairs.clean, pairs.donor)
    )
    return Question(
        clean, donor, jnp.asarray(masks, jnp.float32), jnp.asarray(np.stack(probabilities))
    )


def run_groups(
    model: Transformer, grid: Grid, question: Question
) -> Float[Array, "groups batch vocab"]:
    """Logits of each group under its mask; absent edges carry the donor, gradients included."""

    def run_group(
        clean: Inputs, donor: Inputs, mask: Float[Array, " edges"]
    ) -> Float[Array, "batch vocab"]:
        return compute_masked_logits(
            model, mask, grid, Background.of(model, compute_writer_values(model, donor)), clean
        )[:, 0]

    return jax.vmap(run_group)(question.clean, question.donor, question.masks)


def compute_loss(model: Transformer, grid: Grid, question: Question) -> Float[Array, ""]:
    """Mean KL divergence from what is wanted to what the model says, in nats."""
    log_probabilities = jax.nn.log_softmax(run_groups(model, grid, question))
    probabilities = question.probabilities
    return jnp.sum(
        probabilities
        * (jnp.log(jnp.where(probabilities > 0, probabilities, 1.0)) - log_probabilities),
        axis=-1,
    ).mean()
