"""Norms, and the share that a part of a vector has in the norm of the whole."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from circuitgraph.models.spec import NormSpec

Axes = int | tuple[int, ...]


def to_float32(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """``x`` in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Norm(eqx.Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias``; see `NormSpec` for what is left out."""

    weight: Float[Array, "*layers d"] | None
    bias: Float[Array, "*layers d"] | None
    spec: NormSpec = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*axes d"], over: Axes = -1) -> Float[Array, "*axes d"]:
        return self._scale(self._normalise(x, x, over), self.bias, x.dtype)

    def apply_to_part(
        self, part: Float[Array, "*axes d"], whole: Float[Array, "*other d"]
    ) -> Float[Array, "*axes d"]:
        """What ``part`` contributes to the norm of ``whole``, without bias.

        Exact, given the divisor of the whole.
        """
        return self._scale(self._normalise(part, whole, -1), None, part.dtype)

    def compute_factor(self, whole: Float[Array, "*axes d"]) -> Float[Array, "*axes 1"]:
        """What `apply_to_part` multiplies a part with before the weight. Root mean square only."""
        size = jnp.square(to_float32(whole)).mean(-1, keepdims=True)
        return jax.lax.rsqrt(size + self.spec.eps).astype(whole.dtype)

    def weigh(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        """``x`` times the weight."""
        return self._scale(x, None, x.dtype)

    def _normalise(self, part: Array, whole: Array, over: Axes) -> Array:
        part, whole = to_float32(part), to_float32(whole)
        if self.spec.kind == "layer":
            part, whole = (x - x.mean(over, keepdims=True) for x in (part, whole))
        return part * jax.lax.rsqrt(jnp.square(whole).mean(over, keepdims=True) + self.spec.eps)

    def _scale(self, x: Array, bias: Array | None, dtype: DTypeLike) -> Array:
        if self.spec.cast_first:
            x = x.astype(dtype)
        if self.weight is not None:
            x = x * (self.weight.astype(x.dtype) + self.spec.offset)
        if bias is not None:
            x = x + bias.astype(x.dtype)
        return x.astype(dtype)


def apply_norm(norm: Norm | None, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
    """The norm of ``x``, or ``x`` where there is none."""
    return x if norm is None else norm(x)
