"""A network whose backward pass follows the rules of relevance propagation.

Its forward pass is unchanged. The rules are those of RelP (Rezaei Jafari et al. 2025): what is
`constant` here passes values on and no gradient.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.attention import Attention, Head
from circuitgraph.models.mlp import ACTIVATIONS, MLP, apply_linear
from circuitgraph.models.norms import Axes, Norm, apply_norm
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Transformer

constant = jax.lax.stop_gradient
Part = TypeVar("Part", bound=eqx.Module)


class ScaledNorm(Norm):
    """LN rule: the divisor is a constant."""

    def __call__(self, x: Float[Array, "*axes d"], over: Axes = -1) -> Float[Array, "*axes d"]:
        return self._scale(self._normalise(x, constant(x), over), self.bias, x.dtype)


class FixedAttention(Attention):
    """AH rule: a head's pattern is a constant; relevance flows through its values alone."""

    def attend(
        self,
        q: Float[Array, "heads batch queries d_head"],
        k: Float[Array, "heads batch keys d_head"],
        v: Float[Array, "heads batch keys d_head"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "heads batch queries d_head"]:
        return super().attend(constant(q), constant(k), v, positions, settings, head)


class HalvedMLP(MLP):
    """Half rule: of the gradient of a product (of gate and input) half is kept."""

    def _compute_hidden(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d_mlp"]:
        hidden = apply_linear(x, self.w_in, self.b_in)
        if self.w_gate is None:
            hidden = self._activate(hidden)
        else:
            gate, hidden = self._clip_gated(apply_linear(x, self.w_gate, self.b_gate), hidden)
            product = self._activate(gate) * hidden
            hidden = 0.5 * product + constant(0.5 * product)
        return apply_norm(self.hidden_norm, hidden)

    def _activate(self, h: Float[Array, "*axes d_mlp"]) -> Float[Array, "*axes d_mlp"]:
        return ACTIVATIONS[self.spec.activation](h)


class ProportionalMLP(HalvedMLP):
    """Identity rule and half rule; which experts are chosen, and all their weights, are constants.

    Identity rule: an activation multiplies by a constant, ``activation(h) / h``.
    """

    def _activate(self, h: Float[Array, "*axes d_mlp"]) -> Float[Array, "*axes d_mlp"]:
        activation = ACTIVATIONS[self.spec.activation]
        return h * constant(activation(h) / jnp.where(h == 0, 1, h))

    def _apply_experts(
        self,
        x: Float[Array, "*axes d"],
        shares: Float[Array, "*axes active"],
        chosen: Int[Array, "*axes active"],
    ) -> Float[Array, "*axes d"]:
        return super()._apply_experts(x, constant(shares), chosen)

    def _hold_share(self, share: Float[Array, "*axes 1"]) -> Float[Array, "*axes 1"]:
        return constant(share)


def freeze_norms(model: Transformer) -> Transformer:
    """The same network, in which the divisor of each norm is a constant to derivatives."""
    return jax.tree.map(
        lambda part: convert_module(ScaledNorm, part) if isinstance(part, Norm) else part,
        model,
        is_leaf=lambda part: isinstance(part, Norm),
    )


def apply_rules(model: Transformer, *, fixed_patterns: bool) -> Transformer:
    """The same network with the rules of relevance propagation in it.

    Args:
        fixed_patterns: no gradient passes through attention patterns.
    """
    ruled = freeze_norms(model)
    if fixed_patterns:
        ruled = eqx.tree_at(
            lambda m: m.blocks.attention,
            ruled,
            convert_module(FixedAttention, ruled.blocks.attention),
        )
    return convert_mlps(ruled, ProportionalMLP)


def convert_mlps(model: Transformer, kind: type[MLP]) -> Transformer:
    """The same network, whose MLPs, those that all tokens share among them, are of that kind."""
    if model.blocks.mlp is None:
        return model
    mlp = convert_module(kind, model.blocks.mlp)
    if mlp.shared is not None:
        mlp = eqx.tree_at(lambda m: m.shared, mlp, convert_module(kind, mlp.shared))
    return eqx.tree_at(lambda m: m.blocks.mlp, model, mlp)


def convert_module(kind: type[Part], part: eqx.Module) -> Part:
    """The same arrays and settings as a module of that kind."""
    return kind(**{field.name: getattr(part, field.name) for field in dataclasses.fields(part)})
