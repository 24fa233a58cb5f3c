"""An attention score as a sum over pairs of writers: the program behind `explain_scores`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.engine.attribution.relevance import freeze_norms
from circuitgraph.engine.batch import Inputs
from circuitgraph.engine.masked.forward import collect_writers
from circuitgraph.engine.trace import trace_model
from circuitgraph.models.attention import Attention
from circuitgraph.models.transformer import Transformer

Number = np.int32 | Int[Array, ""]


class ScoreRun(NamedTuple):
    """What `ScoreParts` has, on the device."""

    parts: Float[Array, "writers writers keys"]
    scores: Float[Array, " keys"]
    pattern: Float[Array, " keys"]


@eqx.filter_jit
def run_score_parts(
    model: Transformer, inputs: Inputs, layer: Number, head: Number, query: Number, n_seen: int
) -> ScoreRun:
    """The scores of one query of one prompt; the first ``n_seen`` writers are those read."""
    layer, head, query = (jnp.asarray(number) for number in (layer, head, query))
    with jax.default_matmul_precision("highest"):
        trace = trace_model(model, inputs, ["writers", "stream"])
        assert trace.stream is not None  # noqa: S101 - it was to be kept
        written, x = collect_writers(model, trace, inputs).nodes[:n_seen], trace.stream[layer]
        positions = model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
        block, settings = freeze_norms(model).select_layer(layer)
        attention: Attention = block.attention

        def project_query(x: Array) -> Array:
            return attention.project_queries(x[None], positions, settings, head)[0, 0, query]

        def project_keys(x: Array) -> Array:
            return attention.project_keys(x[None], positions, settings, head)[0, 0]

        queries, keys = (
            _take_apart(project, x, written) for project in (project_query, project_keys)
        )
        scale = settings.scale.astype(queries.dtype)
        parts = jnp.einsum("ue,wke->uwk", queries, keys) * scale
        scores = jnp.einsum("e,ke->k", project_query(x), project_keys(x)) * scale
        q, k = (
            project(x[None], positions, settings, head)
            for project in (attention.project_queries, attention.project_keys)
        )
        pattern = attention.attention_pattern(q, k, positions, settings, head)
        return ScoreRun(parts, scores, pattern[0, 0, query])


def _take_apart(
    project: Callable[[Array], Array], x: Float[Array, "one pos d"], written: Array
) -> Float[Array, "writers_and_biases *axes"]:
    """What each writer adds to a projection, then what the projection has besides.

    Norms are frozen, so that the projection is affine: its derivative along a writer's value is
    that writer's part, to the last bit but rounding.
    """
    parts = jax.vmap(lambda value: jax.jvp(project, (x,), (value,))[1])(written)
    return jnp.concatenate([parts, (project(x) - parts.sum(0))[None]])
