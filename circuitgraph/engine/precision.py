"""How exact a value is: by the precision that the model runs in."""

from __future__ import annotations

import jax.numpy as jnp

_ROUNDINGS = 8


def estimate_noise(dtype: str) -> float:
    """The share of a value's size by which it may differ on another machine: eight roundings.

    Metrics are kept in float32, so that a model in float64 is no more exact than that.
    """
    return _ROUNDINGS * max(float(jnp.finfo(kind).eps) for kind in (dtype, "float32"))


def count_bytes(dtype: str) -> int:
    """Bytes of one number of that precision."""
    return jnp.dtype(dtype).itemsize
