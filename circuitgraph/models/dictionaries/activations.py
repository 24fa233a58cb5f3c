"""The activations of dictionaries: from each feature's value before to its value after.

Each is one function. All of them leave most features at zero.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Values = Float[Array, "*axes features"]


def apply_relu(values: Values) -> Values:
    """What is positive."""
    return jax.nn.relu(values)


def apply_jump_relu(values: Values, threshold: Float[Array, " features"]) -> Values:
    """What is above its threshold, strictly; it keeps its value (Rajamanoharan et al. 2024)."""
    return jnp.where(values > threshold, values, 0.0)


def apply_signed_top_k(values: Values, k: int) -> Values:
    """The k highest of each token, as they are."""
    highest, where = jax.lax.top_k(values, k)
    return jnp.put_along_axis(jnp.zeros_like(values), where, highest, axis=-1, inplace=False)


def apply_top_k(values: Values, k: int) -> Values:
    """The k highest of each token, as far as they are positive (Gao et al. 2024)."""
    return apply_signed_top_k(jax.nn.relu(values), k)


def apply_group_max(values: Values, k: int) -> Values:
    """The highest of each of k groups of neighbours, as far as it is positive."""
    groups = jax.nn.relu(values).reshape(*values.shape[:-1], k, -1)
    best = jax.nn.one_hot(groups.argmax(-1), groups.shape[-1], dtype=values.dtype)
    return (groups * best).reshape(values.shape)


def apply_gate(gate: Values, magnitude: Values) -> Values:
    """The magnitude, as far as it is positive, where the gate is open (Rajamanoharan et al.
    2024).
    """
    return jnp.where(gate > 0, jax.nn.relu(magnitude), 0.0)
