"""The hard-concrete distribution: masks in [0, 1], often exactly 0 or 1, that can be learned.

Louizos, Welling and Kingma (2018), "Learning sparse neural networks through L0 regularization",
equations 10 to 13: a concrete variable
``s = sigmoid((log(u / (1 - u)) + log_alpha) / temperature)`` is stretched beyond both ends and cut
off there. The constants are theirs, and those of Cao et al. (2021) and Bhaskar et al. (2024).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

LEFT, RIGHT = -0.1, 1.1  # the interval that the concrete variable is stretched to
TEMPERATURE = 2 / 3

_SMALLEST = 1e-6  # keeps the logarithms of the uniform numbers finite


def draw_uniforms(seed: int, step: int | Int[Array, ""], n: int) -> Float[Array, " n"]:
    """The random numbers of one step: they depend on the seed and the step's number only."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.random.uniform(key, (n,), jnp.float32, _SMALLEST, 1 - _SMALLEST)


def sample_mask(log_alpha: Float[Array, " n"], u: Float[Array, " n"]) -> Float[Array, " n"]:
    """The mask that uniform numbers between 0 and 1 stand for; differentiable in ``log_alpha``."""
    concrete = jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + log_alpha) / TEMPERATURE)
    return _stretch_and_clip(concrete)


def compute_expected_l0(log_alpha: Float[Array, " n"]) -> Float[Array, " n"]:
    """The probability that a sampled mask is not exactly zero."""
    return jax.nn.sigmoid(log_alpha - TEMPERATURE * np.log(-LEFT / RIGHT))


def make_final_mask(log_alpha: Float[Array, " n"]) -> Float[Array, " n"]:
    """The mask after learning, without noise or temperature; 1/2 where ``log_alpha`` is 0."""
    return _stretch_and_clip(jax.nn.sigmoid(log_alpha))


def find_log_alpha(mask: float) -> float:
    """The ``log_alpha`` whose final mask has this value, which must lie between 0 and 1."""
    concrete = (mask - LEFT) / (RIGHT - LEFT)
    return float(np.log(concrete) - np.log1p(-concrete))


def _stretch_and_clip(concrete: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.clip(concrete * (RIGHT - LEFT) + LEFT, 0.0, 1.0)
