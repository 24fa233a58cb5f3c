"""Edges patched from donors, for each prompt others, by one compiled function whatever they are."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.masked.forward import (
    Background,
    Grid,
    Inputs,
    compute_full_logits,
    compute_masked_logits,
    compute_writer_values,
)
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.properties.base import N_CASES, PropertyCase
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.tokens import Shape, assemble
from circuitgraph.models.transformer import Transformer
from circuitgraph.tasks.metrics import Metric, Targets
from circuitgraph.tasks.prompts import Prompts

_AT_ONCE = 8  # prompts whose writers' values are alive at a time


class EdgePatches:
    """What a metric becomes when some edges carry what they carry on a donor of the same layout."""

    def __init__(self, context: PropertyContext) -> None:
        self._context, self._shape = context, context.source.shape
        self._graph = context.study.graph
        self._cells = Grid.of(self._graph)

    def values(
        self, cases: Sequence[PropertyCase]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The metric of each case's prompt as it is, and with its edges patched.

        Raises:
            HypothesisError: there are too many cases, or the metric needs distractors that the task
                does not have.
        """
        n, metric = len(cases), self._context.runner.metric
        filled = [*cases, *[cases[-1]] * (N_CASES - n)]
        prompts, donors = [c.prompt for c in filled], [c.donor or c.prompt for c in filled]
        self._shape = self._shape.union(Shape.of(prompts))
        tokens = self._context.source.tokens
        labels = assemble(prompts, tokens, self._shape)
        if metric.needs_distractor and labels.distractor is None:
            raise HypothesisError(
                f"Metric {metric.name!r} needs a distractor for every prompt: choose another "
                "metric=."
            )
        masks = np.ones((N_CASES, self._graph.n_edges), np.float32)
        for mask, case in zip(masks, filled, strict=True):
            mask[list(case.edges)] = 0.0
        sides = (_inputs(labels), _inputs(assemble(donors, tokens, self._shape)))
        both = _run(
            self._context.study.model.transformer,
            masks,
            self._cells,
            sides,
            _targets(labels),
            metric,
        )
        before, after = np.asarray(both)[:, :n]
        return before, after


@eqx.filter_jit
def _run(
    model: Transformer,
    masks: Float[Array, "batch edges"] | Float[np.ndarray, "batch edges"],
    grid: Grid,
    sides: tuple[Inputs, Inputs],
    targets: Targets,
    metric: Metric,
) -> Float[Array, "2 batch"]:
    with jax.default_matmul_precision("highest"):
        full = compute_full_logits(model, sides[0])

        def one(case: tuple[Array, Inputs, Inputs]) -> Array:
            mask, prompt, donor = case
            prompt, donor = (jax.tree.map(lambda a: a[None], side) for side in (prompt, donor))
            background = Background.of(model, compute_writer_values(model, donor))
            return compute_masked_logits(model, mask, grid, background, prompt)[0]

        patched = jax.lax.map(one, (jnp.asarray(masks), *sides), batch_size=_AT_ONCE)
        known = targets._replace(full_logits=full)
        return jnp.stack(
            [metric.function(logits, known).astype(jnp.float32) for logits in (full, patched)]
        )


def _inputs(prompts: Prompts) -> Inputs:
    positions = np.broadcast_to(
        np.arange(prompts.mask.shape[1], dtype=np.int32), prompts.mask.shape
    )
    return Inputs(
        *map(
            jnp.asarray, (prompts.clean, prompts.mask, positions, prompts.score_at.astype(np.int32))
        )
    )


def _targets(prompts: Prompts) -> Targets:
    parts = (prompts.answer, prompts.distractor, prompts.right, prompts.wrong)
    answer, distractor, right, wrong = (
        None if part is None else jnp.asarray(part) for part in parts
    )
    return Targets(
        jnp.asarray(prompts.answer) if answer is None else answer,
        distractor,
        jnp.zeros((len(prompts), 1)),
        right,
        wrong,
    )
