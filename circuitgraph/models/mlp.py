"""The MLP of a layer, one node of the graph: plain, gated, or a mixture of experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.norms import Norm, apply_norm, to_float32
from circuitgraph.models.routing import Blocks, cut_blocks
from circuitgraph.models.spec import Activation, Spec

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
    has an axis of experts before the last two, and ``router`` chooses among them; ``shared`` is an
    MLP that all tokens use beside their experts.
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
    spec: Spec = eqx.field(static=True)
    router: Float[Array, "*layers experts d"] | None = None
    b_router: Float[Array, "*layers experts"] | None = None
    choice_bias: Float[Array, "*layers experts"] | None = None
    shared: MLP | None = None
    shared_share: Float[Array, "*layers 1 d"] | None = None

    def __call__(
        self, x: Float[Array, "*axes d"], edit_hidden: Callable[[Array], Array] | None = None
    ) -> Float[Array, "*axes d"]:
        """What the MLP adds to the stream.

        Args:
            edit_hidden: applied to what the output weights read; experts have no such values.
        """
        x = apply_norm(self.norm, x)
        if self.router is None and edit_hidden is not None:
            written = apply_linear(edit_hidden(self._compute_hidden(x)), self.w_out, self.b_out)
        elif self.router is None:
            written = self._apply_dense(x)
        else:
            written = self._apply_experts(x, *self._route_tokens(x))
        if self.shared is not None:
            written = written + self._apply_shared(x)
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

    def write_hidden(self, hidden: Float[Array, "*axes d_mlp"]) -> Float[Array, "*axes d"]:
        """What the MLP adds to the stream with these hidden values. Not defined with experts."""
        written = apply_linear(hidden, self.w_out, self.b_out)
        return apply_norm(self.post_norm, written) * self.spec.residual_scale

    def write_rest(
        self, x: Float[Array, "*axes d"], others: Float[Array, " d_mlp"]
    ) -> Float[Array, "*axes d"]:
        """What the MLP adds to the stream without some neurons. Not defined with experts.

        The divisor of a post-norm is that of the whole MLP.

        Args:
            others: 0 for the neurons that are left out, 1 for all others.
        """
        hidden = self.read_hidden(x)
        rest = apply_linear(hidden * others, self.w_out, self.b_out)
        if self.post_norm is not None:
            whole = apply_linear(hidden, self.w_out, self.b_out)
            rest = self.post_norm.apply_to_part(rest, whole)
        return rest * self.spec.residual_scale

    def read_units(
        self, x: Float[Array, "*axes d"], neurons: Int[Array, " units"]
    ) -> Float[Array, "units *axes"]:
        """Some hidden values, each over the divisor of the post-norm if there is one.

        Times its row of `unit_rows` each is what the neuron adds to the stream. Not defined with
        experts.
        """
        if self.post_norm is not None:
            hidden = self.read_hidden(x)
            whole = apply_linear(hidden, self.w_out, self.b_out)
            values = hidden[..., neurons] * self.post_norm.compute_factor(whole)
        elif self.hidden_norm is not None or self.spec.activation == "solu":
            values = self.read_hidden(x)[..., neurons]  # each depends on all
        else:
            values = self._select_neurons(neurons).read_hidden(x)
        return jnp.moveaxis(values, -1, 0)

    def unit_rows(self, neurons: Int[Array, " units"]) -> Float[Array, "units d"]:
        """What each of these neurons adds to the stream for each unit of `read_units`."""
        rows = self.w_out[:, neurons].T
        if self.post_norm is not None:
            rows = self.post_norm.weigh(rows)
        return rows * self.spec.residual_scale

    def write_change(
        self,
        hidden: Float[Array, "*axes d_mlp"],
        neurons: Int[Array, " units"],
        change: Float[Array, "*axes units"],
    ) -> Float[Array, "*axes d"]:
        """What the MLP adds to the stream more, if some hidden values change. Not defined with
        experts.

        Under a post-norm all that is written is normed anew, as in a run with the other values.
        """
        written = jnp.einsum("...u,du->...d", change, self.w_out[:, neurons])
        if self.post_norm is not None:
            whole = apply_linear(hidden, self.w_out, self.b_out)
            norm = self.post_norm
            written = apply_norm(norm, whole + written) - apply_norm(norm, whole)
        return written * self.spec.residual_scale

    def _select_neurons(self, neurons: Int[Array, " units"]) -> MLP:
        """The MLP of these neurons alone."""
        rows = ("w_in", "b_in", "w_gate", "b_gate")
        weights = {name: getattr(self, name) for name in rows}
        some = {n: None if w is None else w[neurons] for n, w in weights.items()}
        return dataclasses.replace(self, **some, w_out=self.w_out[:, neurons])

    def _apply_dense(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        return apply_linear(self._compute_hidden(x), self.w_out, self.b_out)

    def _compute_hidden(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d_mlp"]:
        """What the output weights read, of a normed input."""
        hidden = apply_linear(x, self.w_in, self.b_in)
        activation = ACTIVATIONS[self.spec.activation]
        if self.w_gate is None:
            return apply_norm(self.hidden_norm, activation(hidden))
        gate, hidden = self._clip_gated(apply_linear(x, self.w_gate, self.b_gate), hidden)
        return apply_norm(self.hidden_norm, activation(gate) * hidden)

    def _clip_gated(
        self, gate: Float[Array, "*axes d_mlp"], hidden: Float[Array, "*axes d_mlp"]
    ) -> tuple[Float[Array, "*axes d_mlp"], Float[Array, "*axes d_mlp"]]:
        """Both factors of a gated MLP, before the activation; see `Spec.gate_clip`."""
        largest = self.spec.gate_clip
        if largest is None:
            return gate, hidden
        return jnp.minimum(gate, largest), 1 + jnp.clip(hidden, -largest, largest)

    def _apply_experts(
        self,
        x: Float[Array, "*axes d"],
        shares: Float[Array, "*axes active"],
        chosen: Int[Array, "*axes active"],
    ) -> Float[Array, "*axes d"]:
        """The outputs of the experts that each token chose, summed by their shares, in float32.

        Experts compute the tokens that chose them, and no others.
        """
        experts = eqx.tree_at(
            lambda m: (
                *(m.norm, m.post_norm, m.shared, m.shared_share),
                *(m.router, m.b_router, m.choice_bias),
            ),
            self,
            (None,) * 7,
            is_leaf=_is_none,
        )
        tokens, n_active = x.reshape(-1, x.shape[-1]), chosen.shape[-1]
        blocks = cut_blocks(
            shares.reshape(-1, n_active), chosen.reshape(-1, n_active), self.w_in.shape[0]
        )

        def add_block(total: Array, block: Blocks) -> tuple[Array, None]:
            expert = jax.tree.map(lambda weights: weights[block.expert], experts)
            written = expert._apply_dense(tokens.at[block.token].get(mode="clip"))
            weighed = to_float32(written) * block.share[:, None]
            return total.at[block.token].add(weighed, mode="drop"), None

        total, _ = jax.lax.scan(add_block, jnp.zeros_like(to_float32(tokens)), blocks)
        return total.astype(x.dtype).reshape(x.shape)

    def _apply_shared(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes d"]:
        """What the MLP that all tokens use writes."""
        assert self.shared is not None  # noqa: S101 - asked only where there is one
        written = self.shared._apply_dense(x)
        if self.shared_share is None:
            return written
        return written * self._hold_share(jax.nn.sigmoid(apply_linear(x, self.shared_share, None)))

    def _hold_share(self, share: Float[Array, "*axes 1"]) -> Float[Array, "*axes 1"]:
        """The share as it is; rules of relevance hold it constant."""
        return share

    def _route_tokens(
        self, x: Float[Array, "*axes d"]
    ) -> tuple[Float[Array, "*axes active"], Int[Array, "*axes active"]]:
        """The shares of the experts that each token chose, in float32, and which these are."""
        experts = self.spec.experts
        assert experts is not None  # noqa: S101 - there is no router without
        assert self.router is not None  # noqa: S101 - asked only where there is one
        scores = to_float32(apply_linear(x, self.router, self.b_router))
        softmax = experts.scores == "softmax"
        shares = jax.nn.softmax(scores, axis=-1) if softmax else jax.nn.sigmoid(scores)
        if self.choice_bias is None:
            best, which = jax.lax.top_k(shares, experts.n_active)
        else:
            _, which = jax.lax.top_k(shares + self.choice_bias, experts.n_active)
            best = jnp.take_along_axis(shares, which, axis=-1)
        if experts.renormalise:
            best = best / best.sum(-1, keepdims=True)
        return best if experts.scale == 1.0 else best * experts.scale, which


def apply_linear(
    x: Float[Array, "*axes d_in"], w: Float[Array, "d_out d_in"], b: Float[Array, " d_out"] | None
) -> Float[Array, "*axes d_out"]:
    """A linear layer; the weight lies as torch has it."""
    y = jnp.einsum("...i,oi->...o", x, w)
    return y if b is None else y + b


def _is_none(x: object) -> bool:
    return x is None
