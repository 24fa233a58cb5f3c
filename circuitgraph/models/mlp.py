"""The MLP of a layer, one node of the graph: plain, gated, or a mixture of experts."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.norms import Norm, apply_norm, to_float32
from circuitgraph.models.spec import Activation, Experts, Spec

ACTIVATIONS: dict[Activation, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "silu": jax.nn.silu,
    "solu": lambda x: x * jax.nn.softmax(x, axis=-1),
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}


class MLP(eqx.Module):
    """Norm, up-projection, activation, down-projection.

    Biases and multipliers are part of what the MLP writes. With experts every weight but the norms'
    has an axis of experts before the last two, and ``router`` chooses among them.
    """

    norm: Norm | None
    w_in: Float[Array, "*layers_experts d_mlp d"]
    b_in: Float[Array, "*layers_experts d_mlp"] | None
    w_gate: Float[Array, "*layers_experts d_mlp d"] | None
    b_gate: Float[Array, "*layers_experts d_mlp"] | None
    hidden_norm: Norm | None
    w_out: Float[Array, "*layers_experts d d_mlp"]
    b_out: Float[Array, "*layers_experts d"] | None
    post_norm: Norm | None
    router: Float[Array, "*layers experts d"] | None
    spec: Spec = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        x = apply_norm(self.norm, x)
        experts = self.spec.experts
        if self.router is None or experts is None:
            written = self._apply_dense(x)
        else:
            written = self._apply_experts(x, route_tokens(x, self.router, experts))
        return apply_norm(self.post_norm, written) * self.spec.residual_scale

    def neuron_output(
        self, x: Float[Array, "*axes d"], index: Int[Array, ""]
    ) -> Float[Array, "*axes d"]:
        """What one hidden neuron adds to the residual stream.

        That is its activation times its column of the output weights. Not defined with experts or
        a post-norm.
        """
        hidden = self.read_hidden(x)
        return hidden[..., index, None] * self.w_out[:, index] * self.spec.residual_scale

    def read_hidden(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d_mlp"]:
        """What the output weights read, of a stream. Not defined with experts."""
        return self._compute_hidden(apply_norm(self.norm, x))

    def _apply_dense(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        return apply_linear(self._compute_hidden(x), self.w_out, self.b_out)

    def _compute_hidden(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d_mlp"]:
        """What the output weights read, of a normed input."""
        hidden = apply_linear(x, self.w_in, self.b_in)
        activation = ACTIVATIONS[self.spec.activation]
        hidden = (
            activation(hidden)
            if self.w_gate is None
            else activation(apply_linear(x, self.w_gate, self.b_gate)) * hidden
        )
        return apply_norm(self.hidden_norm, hidden)

    def _apply_experts(
        self, x: Float[Array, "*axes d"], weights: Float[Array, "*axes experts"]
    ) -> Float[Array, "*axes d"]:
        """The experts' outputs, summed by the router's weights.

        Every expert sees every token, though most weights are zero: plain, exact, not cheap.
        """

        def add_expert(total: Array, expert: tuple[MLP, Array]) -> tuple[Array, None]:
            mlp, weight = expert
            return total + to_float32(mlp._apply_dense(x)) * weight[..., None], None

        experts = eqx.tree_at(
            lambda m: (m.norm, m.post_norm, m.router), self, (None, None, None), is_leaf=_is_none
        )
        total, _ = jax.lax.scan(
            add_expert, jnp.zeros_like(to_float32(x)), (experts, jnp.moveaxis(weights, -1, 0))
        )
        return total.astype(x.dtype)


def route_tokens(
    x: Float[Array, "*axes d"], router: Float[Array, "experts d"], experts: Experts
) -> Float[Array, "*axes experts"]:
    """The weight of each expert: the router's softmax in float32, small ones set to zero."""
    shares = jax.nn.softmax(to_float32(apply_linear(x, router, None)), axis=-1)
    best, which = jax.lax.top_k(shares, experts.n_active)
    if experts.renormalise:
        best = best / best.sum(-1, keepdims=True)
    return (jax.nn.one_hot(which, experts.n_experts, dtype=best.dtype) * best[..., None]).sum(-2)


def apply_linear(
    x: Float[Array, "*axes d_in"], w: Float[Array, "d_out d_in"], b: Float[Array, " d_out"] | None
) -> Float[Array, "*axes d_out"]:
    """A linear layer; the weight lies as torch has it."""
    y = jnp.einsum("...i,oi->...o", x, w)
    return y if b is None else y + b


def _is_none(x: object) -> bool:
    return x is None
