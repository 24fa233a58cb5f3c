"""Training of a dictionary on given values: one threshold that keeps k features active on average.

As BatchTopK (Bussmann et al. 2024), whose threshold is here followed from step to step instead of
sorted out of each batch, so that training and use compute the same. Dead features are trained to
say what the living leave over, as by Gao et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.models.dictionaries.activations import apply_jump_relu, apply_top_k
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook

_AUXILIARY = 1 / 32  # weight of the loss of dead features, as in the paper
_WARM_UP = 0.05  # share of the steps in which the learning rate rises
_COOL_DOWN = 0.2  # share of the steps in which it falls to zero
_FOLLOW = 0.05  # how far the logarithm of the threshold goes in a step, at twice k or none active


_MOST_FEATURES = 2**24
_MOST_COUNTED = 2**31 - 1  # what a 32-bit counter holds


@dataclass(frozen=True)
class TrainingSettings:
    """How a dictionary is trained.

    Attributes:
        k: active features of a token, on average.
        batch: tokens of one step.
        dead_after: tokens without being on after which a feature is dead, and is trained to
            reconstruct what the others leave over.
    """

    n_features: int
    k: int
    steps: int = 2000
    batch: int = 1024
    learning_rate: float = 3e-3
    dead_after: int = 50_000
    seed: int = 0

    def check(self) -> None:
        """Raise `ArgumentError` on settings with which nothing can be trained."""
        check_between("features", self.n_features, 1, _MOST_FEATURES)
        check_between("k", self.k, 1, self.n_features)
        for name in ("steps", "batch", "dead_after"):
            check_between(name, getattr(self, name), 1, _MOST_COUNTED)
        if not 0 < self.learning_rate < float("inf"):
            raise ArgumentError(f"learning_rate is {self.learning_rate}, but must be above 0.")


class TrainingState(NamedTuple):
    """All that a training goes on from.

    Attributes:
        idle: tokens since each feature was on.
        step: steps that are done.
        loss: share of the variance that the last steps left unexplained.
    """

    dictionary: Dictionary
    optimiser: optax.OptState
    idle: Int[Array, " features"]
    step: Int[Array, ""]
    loss: Float[Array, ""]


def start_training(
    x: Float[np.ndarray, "tokens d_in"],
    y: Float[np.ndarray, "tokens d_out"],
    reads: Hook,
    writes: Hook,
    settings: TrainingSettings,
) -> TrainingState:
    """A dictionary of random directions; the decoder's bias is the mean of the values.

    Args:
        x, y: what is read, and what is to be written; for an autoencoder the same.
    """
    settings.check()
    spec = DictionarySpec(
        layout="saelens",
        activation="jump_relu",
        input_scale=_find_scale(x),
        output_scales=(_find_scale(y),),
        subtracts_b_dec=reads == writes,
        reads=reads,
        writes=(writes,),
    )
    encoder_key, decoder_key = jax.random.split(jax.random.key(settings.seed))
    rows = _normalise_rows(jax.random.normal(decoder_key, (settings.n_features, y.shape[1])))
    w_enc = rows
    if reads != writes:
        w_enc = _normalise_rows(jax.random.normal(encoder_key, (settings.n_features, x.shape[1])))
    b_dec = jnp.asarray(y.mean(axis=0) * spec.output_scales[0], "float32")
    arrays = (w_enc, jnp.zeros(settings.n_features), rows[None], b_dec)
    threshold = _find_threshold(Dictionary(*arrays, spec), x[: settings.batch], settings.k)
    dictionary = Dictionary(*arrays, spec, threshold=threshold)
    return TrainingState(
        dictionary,
        _make_optimiser(settings).init(eqx.filter(dictionary, eqx.is_array)),
        jnp.zeros(settings.n_features, jnp.int32),
        jnp.array(0),
        jnp.array(1.0),
    )


@eqx.filter_jit
def train_steps(
    state: TrainingState,
    x: Float[Array, "tokens d_in"],
    y: Float[Array, "tokens d_out"],
    settings: TrainingSettings,
    n: int,
) -> TrainingState:
    """``n`` steps more; which tokens a step sees depends on the seed and its number alone."""
    scale = state.dictionary.spec.output_scales[0]
    variance = jnp.square((y - y.mean(0)) * scale).sum(-1).mean()
    key = jax.random.key(settings.seed)

    def take_step(state: TrainingState, _: None) -> tuple[TrainingState, None]:
        rows = jax.random.randint(jax.random.fold_in(key, state.step), (settings.batch,), 0, len(x))
        return _take_step(state, x[rows], y[rows] * scale, variance, settings), None

    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(take_step, state, length=n)[0]


def _take_step(
    state: TrainingState, x: Array, target: Array, variance: Array, settings: TrainingSettings
) -> TrainingState:
    is_dead = state.idle > settings.dead_after
    (_, (loss, is_on)), gradient = eqx.filter_value_and_grad(_measure_loss, has_aux=True)(
        state.dictionary, x, target, variance, is_dead
    )
    excess = is_on.sum(-1).mean() / settings.k - 1
    updates, optimiser = _make_optimiser(settings).update(gradient, state.optimiser)
    dictionary = eqx.apply_updates(state.dictionary, updates)
    # rows of length one, or features would be made small and rows long
    threshold = _read_threshold(state.dictionary) * jnp.exp(_FOLLOW * jnp.clip(excess, -1, 1))
    dictionary = eqx.tree_at(
        lambda d: (d.w_dec, d.threshold),
        dictionary,
        (_normalise_rows(dictionary.w_dec), threshold),
    )
    idle = jnp.where(is_on.any(0), 0, state.idle + settings.batch)
    return TrainingState(
        dictionary, optimiser, idle, state.step + 1, 0.98 * state.loss + 0.02 * loss
    )


def _measure_loss(
    dictionary: Dictionary, x: Array, target: Array, variance: Array, is_dead: Array
) -> tuple[Array, tuple[Array, Array]]:
    """The loss; the share of the variance that is left, and which features of a token are on."""
    spec, rows = dictionary.spec, dictionary.w_dec[0]
    seen = x * spec.input_scale
    seen = seen - dictionary.b_dec if spec.subtracts_b_dec else seen
    values = seen @ dictionary.w_enc.T + dictionary.b_enc
    features = apply_jump_relu(values, _read_threshold(dictionary))
    left = target - (features @ rows + dictionary.b_dec)
    loss = jnp.square(left).sum(-1).mean() / variance

    def train_dead() -> Array:
        n_dead = min(len(rows), max(1, x.shape[1] // 2))
        dead = apply_top_k(jnp.where(is_dead, values, -jnp.inf), n_dead)
        return jnp.square(jax.lax.stop_gradient(left) - dead @ rows).sum(-1).mean() / variance

    auxiliary = jax.lax.cond(is_dead.any(), train_dead, lambda: jnp.zeros_like(loss))
    return loss + _AUXILIARY * auxiliary, (loss, features > 0)


def _make_optimiser(settings: TrainingSettings) -> optax.GradientTransformation:
    rise, fall = (max(1, int(share * settings.steps)) for share in (_WARM_UP, _COOL_DOWN))
    flat = max(0, settings.steps - rise - fall)
    rate = settings.learning_rate
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, rise),
            optax.constant_schedule(rate),
            optax.linear_schedule(rate, 0.0, fall),
        ],
        [rise, rise + flat],
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def _find_scale(values: Float[np.ndarray, "tokens d"]) -> float:
    """What values are multiplied with so that their length is sqrt(d) on average."""
    length = np.linalg.norm(values.astype(np.float64), axis=1).mean()
    if not np.isfinite(length) or length == 0:
        raise ArgumentError(
            f"The values to be trained on have the average length {length}: there is nothing to "
            "take apart."
        )
    return float(values.shape[1] ** 0.5 / length)


def _read_threshold(dictionary: Dictionary) -> Float[Array, " features"]:
    assert dictionary.threshold is not None  # noqa: S101 - a training starts with one
    return dictionary.threshold


def _find_threshold(
    dictionary: Dictionary, x: Float[np.ndarray, "tokens d_in"], k: int
) -> Float[Array, " features"]:
    """The one threshold with which k features of a token are active on average."""
    values = dictionary.encode(jnp.asarray(x))  # without a threshold that is a ReLU
    highest = jnp.quantile(values, 1 - k / dictionary.n_features)
    return jnp.full(dictionary.n_features, jnp.maximum(highest, 1e-3))


def _normalise_rows(rows: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
    return rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
