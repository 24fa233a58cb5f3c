"""What neurons write, read as logits: the last norm with held divisors, and scores of neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Batch
from circuitgraph.engine.readings.head_matrices import center_rows, weigh_written
from circuitgraph.engine.readings.neuron_scores import NeuronParts, NeuronScore
from circuitgraph.models.transformer import Transformer

_AT_ONCE = 64  # neurons whose logits are alive


class Written(NamedTuple):
    """What some neurons write: each value times its row is added to the stream ``before``.

    ``places``: keys from which attention neurons fetch their values; one for MLPs.
    """

    before: Float[Array, "batch d"]
    coefficients: Float[Array, "batch neurons places"]
    rows: Float[Array, "neurons d"]


class StreamReader(NamedTuple):
    """How the stream is read: by the last norm, with the divisors of the whole model's run."""

    model: Transformer
    factor: Float[Array, "batch one"]

    def read_rows(self, rows: Float[Array, "n d"]) -> Float[Array, "n vocab"]:
        """What rows add to logits, divisors and biases apart, before a soft cap."""
        return self.model.project_rows(weigh_written(self.model.final_norm, rows))

    def read_stream(self, x: Float[Array, "batch d"]) -> Float[Array, "batch vocab"]:
        """Logits, before a soft cap."""
        return self.read_rows(x) * self.factor + self.model.bias_logits


def make_reader(model: Transformer, final: Float[Array, "batch d"]) -> StreamReader:
    """The reader with the divisors that these final streams have."""
    norm = model.final_norm
    if norm is None:
        return StreamReader(model, jnp.ones((len(final), 1), final.dtype))
    return StreamReader(model, norm.compute_factor(center_rows(norm, final)))


def read_answers(
    reader: StreamReader, batch: Batch, x: Float[Array, "batch d"]
) -> Float[Array, " batch"]:
    """The answers' log-probabilities in a stream."""
    assert batch.targets.answer is not None  # noqa: S101 - checked before
    nothing = jnp.zeros((0,), x.dtype)

    def read(args: tuple[Array, Array]) -> Float[Array, ""]:
        before, answer = args
        per_one = jnp.zeros((0, len(before)), x.dtype)
        cap = reader.model.spec.logit_softcap
        return NeuronParts(before, nothing, per_one, nothing, answer, cap).log_before

    return jax.vmap(read)((reader.read_stream(x), batch.targets.answer[:, 0]))


def score_written(
    reader: StreamReader, batch: Batch, written: Written, scores: tuple[NeuronScore, ...]
) -> Float[Array, "scores batch neurons places"]:
    """Scores of a layer's neurons; what their rows add to logits is computed once for all."""
    assert batch.targets.answer is not None  # noqa: S101 - checked before
    before, answer = reader.read_stream(written.before), batch.targets.answer[:, 0]
    cap = reader.model.spec.logit_softcap

    def score_chunk(chunk: tuple[Array, Array]) -> Array:
        rows, values = chunk  # [some, d], [batch, places, some]
        per_one, lengths = reader.read_rows(rows), jnp.linalg.norm(rows, axis=-1)

        def score_prompt(prompt: tuple[Array, Array, Array, Array]) -> Array:
            before, factor, answer, values = prompt

            def score_place(coefficients: Float[Array, " some"]) -> Array:
                own = per_one * factor
                parts = NeuronParts(before, coefficients, own, lengths, answer, cap)
                return jnp.stack([score.function(parts) for score in scores])

            return jax.lax.map(score_place, values)

        return jax.lax.map(score_prompt, (before, reader.factor[:, 0], answer, values))

    n_neurons = len(written.rows)
    scored = _map_chunks(
        score_chunk, written.rows, jnp.moveaxis(written.coefficients, 1, 2), n_neurons
    )  # [chunks, batch, places, scores, some]
    scored = jnp.moveaxis(scored, 0, -2)
    scored = scored.reshape(*scored.shape[:-2], -1)[..., :n_neurons]
    return jnp.transpose(scored, (2, 0, 3, 1))


def _map_chunks(
    function: Callable[[tuple[Array, Array]], Array],
    rows: Float[Array, "neurons d"],
    values: Float[Array, "batch places neurons"],
    n: int,
) -> Array:
    """Some neurons at a time; zeros fill the last chunk up."""
    size = min(_AT_ONCE, n)
    more = -n % size
    rows = jnp.pad(rows, ((0, more), (0, 0))).reshape(-1, size, rows.shape[-1])
    values = jnp.pad(values, ((0, 0), (0, 0), (0, more)))
    values = values.reshape(*values.shape[:2], -1, size)
    return jax.lax.map(function, (rows, jnp.moveaxis(values, 2, 0)))
