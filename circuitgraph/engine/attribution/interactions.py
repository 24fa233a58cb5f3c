"""A network whose backward pass follows the rules of gradient interaction modifications (GIM).

Its forward pass is unchanged. The rules are those of Edin et al. (2025), "GIM: Improved
interpretability for large language models" (arXiv 2505.17630), as the authors' package has them.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import equinox as eqx
import jax
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.attribution.relevance import (
    HalvedMLP,
    constant,
    convert_mlps,
    freeze_norms,
)
from circuitgraph.models.attention import Attention, Head
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Transformer


class WarmAttention(Attention):
    """The softmax has the derivative of a warmer one; each factor of a product gets its half.

    A pattern times values is a product of two, and the scores behind the pattern are one of queries
    and keys: of their gradients a half and two quarters are kept.
    """

    temperature: float = eqx.field(static=True, default=2.0)

    def attend(
        self,
        q: Float[Array, "heads batch queries d_head"],
        k: Float[Array, "heads batch keys d_head"],
        v: Float[Array, "heads batch keys d_head"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "heads batch queries d_head"]:
        q, k, v = _keep_share(q, 0.25), _keep_share(k, 0.25), _keep_share(v, 0.5)
        return super().attend(q, k, v, positions, settings, head)

    def _compute_softmax(
        self, scores: Float[Array, "heads batch queries keys"]
    ) -> Float[Array, "heads batch queries keys"]:
        return apply_warm_softmax(scores, self.temperature)


def _keep_share(x: Array, share: float) -> Array:
    """``x``, of whose gradient this share is kept."""
    return constant((1 - share) * x) + share * x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def apply_warm_softmax(scores: Float[Array, "*axes n"], temperature: float) -> Array:
    """The softmax over the last axis, with the derivative of a warmer one.

    The derivative is ``s * (g - sum(s * g))`` with ``s = softmax(scores / temperature)``: that of
    ``softmax(y)`` at ``y = scores / temperature``, not divided by the temperature once more.
    """
    del temperature
    return jax.nn.softmax(scores, axis=-1)


def _run_forward(scores: Array, temperature: float) -> tuple[Array, Array]:
    warm = jax.nn.softmax(scores / temperature, axis=-1)
    return jax.nn.softmax(scores, axis=-1), warm


def _run_backward(temperature: float, warm: Array, gradient: Array) -> tuple[Array]:
    del temperature
    return (warm * (gradient - (warm * gradient).sum(-1, keepdims=True)),)


apply_warm_softmax.defvjp(_run_forward, _run_backward)


def apply_interactions(model: Transformer, temperature: float) -> Transformer:
    """The same network with the rules of gradient interaction modifications in it.

    Norms divide by constants. Routers keep their gradients: the rules do not speak of them.

    Args:
        temperature: of the softmax that gives attention patterns their derivative; above 0.
    """
    ruled = convert_mlps(freeze_norms(model), HalvedMLP)
    attention = ruled.blocks.attention
    parts = {field.name: getattr(attention, field.name) for field in dataclasses.fields(attention)}
    warm = WarmAttention(**parts, temperature=temperature)
    return eqx.tree_at(lambda m: m.blocks.attention, ruled, warm)
