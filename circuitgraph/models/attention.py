"""Attention, kept apart by head from its inputs to what it adds to the residual stream.

Weights lie as torch's Linear has them, outputs before inputs, so that loading is copying. Heads
have an axis of their own.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.models.norms import Norm, apply_norm, to_float32
from circuitgraph.models.positions import LayerSettings, Positions, apply_rope
from circuitgraph.models.spec import Spec

Head = Int[Array, ""] | None


class Attention(eqx.Module):
    """Multi-head attention with grouped keys and values.

    It runs in two steps: `compute_z`, then `head_contributions` or `combine_heads`.
    """

    norm: Norm | None
    w_q: Float[Array, "*layers heads d_head d"]
    w_k: Float[Array, "*layers kv_heads d_head d"]
    w_v: Float[Array, "*layers kv_heads d_head d"]
    b_q: Float[Array, "*layers heads d_head"] | None
    b_k: Float[Array, "*layers kv_heads d_head"] | None
    b_v: Float[Array, "*layers kv_heads d_head"] | None
    q_norm: Norm | None
    k_norm: Norm | None
    sink: Float[Array, "*layers heads"] | None
    w_o: Float[Array, "*layers heads d d_head"]
    b_o: Float[Array, "*layers d"] | None
    post_norm: Norm | None
    spec: Spec = eqx.field(static=True)

    def compute_z(
        self,
        x_q: Float[Array, "one_or_heads batch pos d"],
        x_k: Float[Array, "one_or_any_heads batch keys d"],
        x_v: Float[Array, "one_or_any_heads batch keys d"],
        positions: Positions,
        settings: LayerSettings,
        key_positions: Positions | None = None,
    ) -> Float[Array, "heads batch pos d_head"]:
        """Each head's mixture of values, given its (un-normed) inputs.

        An input's first axis is 1 where all heads read the same stream; otherwise there is one for
        each query head, or, of keys and values, one for each key-value head.

        Args:
            key_positions: where keys and values are those of other tokens than the queries'.
        """
        q, k, v = self._project_all(x_q, x_k, x_v, positions, settings, key_positions or positions)
        return self.attend(q, k, v, positions, settings)

    def compute_z_by_source(
        self,
        x_q: Float[Array, "one_or_heads batch pos d"],
        x_k: Float[Array, "one_or_any_heads batch keys d"],
        x_v: Float[Array, "one_or_any_heads batch keys d"],
        positions: Positions,
        settings: LayerSettings,
        heads: Int[Array, " parts"],
        keys: Float[Array, "parts batch keys"],
    ) -> Float[Array, "heads_and_parts batch pos d_head"]:
        """`compute_z` in parts: what each head fetches at keys that no part has, then the parts.

        Args:
            heads: whose part each is.
            keys: 1 where a part fetches, 0 elsewhere; of one head's parts at most one has a key.
        """
        q, k, v = self._project_all(x_q, x_k, x_v, positions, settings, positions)
        pattern = self.attention_pattern(q, k, positions, settings)
        keys = keys.astype(pattern.dtype)
        others = jnp.ones((len(q), *keys.shape[1:]), pattern.dtype).at[heads].add(-keys)
        every = jnp.concatenate([jnp.arange(len(q)), heads])
        looks = pattern[every] * jnp.concatenate([others, keys])[:, :, None, :]
        return jnp.einsum("hbqk,hbke->hbqe", looks, v[every])

    def _project_all(
        self,
        x_q: Float[Array, "one_or_heads batch pos d"],
        x_k: Float[Array, "one_or_any_heads batch keys d"],
        x_v: Float[Array, "one_or_any_heads batch keys d"],
        positions: Positions,
        settings: LayerSettings,
        key_positions: Positions,
    ) -> tuple[Array, Array, Array]:
        """Queries, keys and values of each query head."""
        q, k, v = (
            self.project_queries(x_q, positions, settings),
            self.project_keys(x_k, key_positions, settings),
            self.project_values(x_v),
        )
        # key-value heads for each query head: [heads, batch, pos, d_head]
        k, v = (jnp.repeat(x, len(q) // len(x), axis=0) for x in (k, v))
        return q, k, v

    # The steps of `compute_z`. With ``head`` they are of that one query head alone, and of the
    # key-value head that it uses.

    def project_queries(
        self,
        x: Float[Array, "one_or_heads batch pos d"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "any_heads batch pos d_head"]:
        return apply_rope(
            self._project_inputs(x, self.w_q, self.b_q, self.q_norm, head),
            positions,
            settings,
            self.spec,
        )

    def project_keys(
        self,
        x: Float[Array, "one_or_any_heads batch pos d"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "any_heads batch pos d_head"]:
        head = self._kv_head(head)
        return apply_rope(
            self._project_inputs(x, self.w_k, self.b_k, self.k_norm, head),
            positions,
            settings,
            self.spec,
        )

    def project_values(
        self, x: Float[Array, "one_or_any_heads batch pos d"], head: Head = None
    ) -> Float[Array, "any_heads batch pos d_head"]:
        return self._project_inputs(x, self.w_v, self.b_v, None, self._kv_head(head))

    def attend(
        self,
        q: Float[Array, "heads batch queries d_head"],
        k: Float[Array, "heads batch keys d_head"],
        v: Float[Array, "heads batch keys d_head"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "heads batch queries d_head"]:
        """Each head's mixture of values; ``positions`` are those of the queries."""
        return jnp.einsum(
            "hbqk,hbke->hbqe", self.attention_pattern(q, k, positions, settings, head), v
        )

    def head_output(
        self, z: Float[Array, "batch pos d_head"], head: Int[Array, ""]
    ) -> Float[Array, "batch pos d"]:
        """What one head adds to the residual stream, or to the input of the post-norm if any."""
        each = jnp.einsum("bpe,de->bpd", z, self.w_o[head])
        return each if self.post_norm is not None else each * self.spec.residual_scale

    def apply_post_norm(
        self, part: Float[Array, "*axes d"], whole: Float[Array, "*axes d"]
    ) -> Float[Array, "*axes d"]:
        """What a head adds to the residual stream through the post-norm.

        Args:
            part, whole: what the head, and all heads together, write into the post-norm.
        """
        assert self.post_norm is not None  # noqa: S101 - the engine asks only where there is one
        return self.post_norm.apply_to_part(part, whole) * self.spec.residual_scale

    def head_contributions(
        self, z: Float[Array, "parts batch pos d_head"], heads: Int[Array, " parts"] | None = None
    ) -> Float[Array, "parts batch pos d"]:
        """What each head adds to the stream; after a post-norm, its share of the norm's output.

        Args:
            z: what heads have fetched, whole or in parts; all of a layer.
            heads: whose part each is; all heads in their order if None.
        """
        w_o = self.w_o if heads is None else self.w_o[heads]
        each = jnp.einsum("hbpe,hde->hbpd", z, w_o)
        if self.post_norm is not None:
            each = self.post_norm.apply_to_part(each, each.sum(0))
        return each * self.spec.residual_scale

    @property
    def constant(self) -> Float[Array, "*layers d"]:
        """What the attention adds to the residual stream whatever its heads do: its output bias."""
        if self.b_o is None:
            return jnp.zeros((*self.w_o.shape[:-3], self.w_o.shape[-2]), self.w_o.dtype)
        return self.b_o * self.spec.residual_scale

    def combine_heads(
        self, z: Float[Array, "heads batch pos d_head"]
    ) -> Float[Array, "batch pos d"]:
        """What all heads and the constant add to the residual stream."""
        total = jnp.einsum("hbpe,hde->bpd", z, self.w_o)
        if self.post_norm is not None:
            total = self.post_norm(total)
        return total * self.spec.residual_scale + self.constant

    def _kv_head(self, head: Head) -> Head:
        """The key-value head that a query head uses."""
        return None if head is None else head // (self.spec.n_heads // self.spec.n_kv_heads)

    def _project_inputs(
        self,
        x: Float[Array, "one_or_any_heads batch pos d"],
        w: Float[Array, "heads d_head d"],
        b: Float[Array, "heads d_head"] | None,
        norm: Norm | None,
        head: Head = None,
    ) -> Float[Array, "any_heads batch pos d_head"]:
        """Queries, keys or values: of each head, or of each input if there are more inputs.

        With ``head``, of that head alone.
        """
        over_width = norm is not None and self.spec.qk_norm_over == "width"

        def finish_projection(y: Array, b: Array | None, norm: Norm | None) -> Array:
            y = y if b is None else y + b[:, None, None, :]
            if self.spec.clip_qkv is not None:
                y = jnp.clip(y, -self.spec.clip_qkv, self.spec.clip_qkv)
            return y if norm is None else norm(y, over=(0, -1) if over_width else -1)

        if head is not None and not over_width:
            w, b = (jax.tree.map(lambda a: a[head][None], part) for part in (w, b))
            if self.spec.qk_norm_over == "each_head":
                norm = jax.tree.map(lambda a: a[head][None], norm)
        # a weight for each head: [heads, d_head] to [heads, 1, 1, d_head]
        if norm is not None and self.spec.qk_norm_over != "head":
            norm = jax.tree.map(lambda weight: weight[:, None, None, :], norm)
        x = apply_norm(self.norm, x)
        if len(x) == 1:
            y = finish_projection(jnp.einsum("bpd,hed->hbpe", x[0], w), b, norm)
            return y[head][None] if head is not None and over_width else y
        if over_width:  # an input's queries of all heads make the divisor of its own head's queries

            def project_one(args: tuple[Array, Array]) -> Array:
                return finish_projection(jnp.einsum("bpd,hed->hbpe", args[0], w), b, norm)[args[1]]

            return jax.lax.map(project_one, (x, jnp.arange(len(x)) // (len(x) // len(w))))
        w, b = (
            jax.tree.map(lambda a: jnp.repeat(a, len(x) // len(w), axis=0), part) for part in (w, b)
        )
        if self.spec.qk_norm_over == "each_head":
            norm = jax.tree.map(
                lambda weight: jnp.repeat(weight, len(x) // len(weight), axis=0), norm
            )
        return finish_projection(jnp.einsum("hbpd,hed->hbpe", x, w), b, norm)

    def attention_pattern(
        self,
        q: Float[Array, "heads batch queries d_head"],
        k: Float[Array, "heads batch keys d_head"],
        positions: Positions,
        settings: LayerSettings,
        head: Head = None,
    ) -> Float[Array, "heads batch queries keys"]:
        """How much of each key's value each query takes; the softmax is in float32 at least."""
        scores = jnp.einsum("hbqe,hbke->hbqk", q, k) * settings.scale.astype(q.dtype)
        if self.spec.attn_softcap is not None:
            scores = jnp.tanh(scores / self.spec.attn_softcap) * self.spec.attn_softcap
        scores = to_float32(scores)
        if positions.bias is not None:
            scores = scores + (positions.bias if head is None else positions.bias[head]).astype(
                scores.dtype
            )
        visible = positions.visible & (positions.back < settings.window)
        scores = jnp.where(visible, scores, jnp.finfo(scores.dtype).min)
        pattern = self._share_out(scores, head)
        if self.spec.attn_rate != 1.0:
            pattern = pattern * self.spec.attn_rate + (1.0 - self.spec.attn_rate)
        # a query that sees nothing gets nothing
        return jnp.where(visible, pattern, 0.0).astype(q.dtype)

    def _share_out(
        self, scores: Float[Array, "heads batch queries keys"], head: Head
    ) -> Float[Array, "heads batch queries keys"]:
        """The softmax of the scores; a sink takes its share, and fetches nothing."""
        if self.sink is None:
            return self._compute_softmax(scores)
        sink = self.sink if head is None else self.sink[head][None]
        sink = jnp.broadcast_to(
            sink[:, None, None, None].astype(scores.dtype), (*scores.shape[:-1], 1)
        )
        return self._compute_softmax(jnp.concatenate([scores, sink], axis=-1))[..., :-1]

    def _compute_softmax(
        self, scores: Float[Array, "heads batch queries keys"]
    ) -> Float[Array, "heads batch queries keys"]:
        """The softmax over keys; rules of attribution give it another derivative."""
        return jax.nn.softmax(scores, axis=-1)
