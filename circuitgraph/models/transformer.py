"""The one transformer: every family is a setting of it, and the engine runs its parts.

Axis names: ``batch``, ``pos`` (query positions), ``d`` (d_model), ``heads``, ``d_head``, ``d_mlp``,
    ``vocab``.
``*layers`` is one axis where the blocks' weights are stacked over layers, so that one compiled
layer serves all,
and none inside that layer.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.models.attention import Attention
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm, normed
from circuitgraph.models.positions import Place, Settings, place, settings
from circuitgraph.models.spec import Spec


class Block(eqx.Module):
    """One layer: attention, and an MLP if the model has any, after it or beside it."""

    attention: Attention
    mlp: MLP | None


class Transformer(eqx.Module):
    """The whole network; a pytree of arrays that is passed to compiled functions as an argument."""

    embedding: Float[Array, "vocab d"]
    positional: Float[Array, "n_ctx d"] | None
    embed_norm: Norm | None
    blocks: Block  # every array with a leading axis of layers
    final_norm: Norm | None
    unembedding: Float[Array, "vocab_out d"] | None  # None: tied to the embedding
    b_unembed: Float[Array, " vocab_out"] | None
    spec: Spec = eqx.field(static=True)

    def __call__(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos vocab_out"]:
        """Logits at every position of right-padded prompts; ``mask`` is True on real tokens."""
        return self.logits(self.residual(tokens, mask, positions))

    def residual(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos d"]:
        """The final residual stream, before the last norm."""
        where = self.place(tokens, mask, positions)

        def layer(
            x: Float[Array, "batch pos d"], xs: tuple[Any, Settings]
        ) -> tuple[Float[Array, "batch pos d"], None]:
            block, own = xs
            after = x + block.attention.output(
                block.attention.mix(x[None], x[None], x[None], where, own)
            )
            if block.mlp is None:
                return after, None
            return after + block.mlp(x if self.spec.parallel else after), None

        x, _ = jax.lax.scan(layer, self.embed(tokens, positions), self.layers())
        return x

    def place(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Place:
        """What attention needs to know of positions; see `Place`."""
        return place(self.spec, tokens, mask, positions)

    def layers(self) -> tuple[Block, Settings]:
        """All layers' weights and settings, stacked: what a scan over layers runs through."""
        return self.blocks, settings(self.spec)

    def embed(
        self, tokens: Int[Array, "batch pos"], positions: Int[Array, "batch pos"]
    ) -> Float[Array, "batch pos d"]:
        """What the writer ``embed`` writes: scaled token embedding plus position embedding, normed
        if so.
        """
        x = self.embedding[tokens]
        if self.spec.embed_scale != 1.0:
            x = x * jnp.array(self.spec.embed_scale, x.dtype)
        if self.positional is not None:
            x = x + self.positional[positions]
        return normed(self.embed_norm, x)

    def logits(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes vocab_out"]:
        """Final norm and unembedding of a final residual stream."""
        y = jnp.einsum("...d,vd->...v", normed(self.final_norm, x), self._unembedding)
        return self._finished(y if self.b_unembed is None else y + self.b_unembed)

    def logits_of(
        self, x: Float[Array, "batch d"], tokens: Int[Array, "batch n"]
    ) -> Float[Array, "batch n"]:
        """Some columns of `logits`: those of each example's own tokens."""
        y = jnp.einsum("bd,bnd->bn", normed(self.final_norm, x), self._unembedding[tokens])
        return self._finished(y if self.b_unembed is None else y + self.b_unembed[tokens])

    @property
    def _unembedding(self) -> Float[Array, "vocab_out d"]:
        return self.embedding if self.unembedding is None else self.unembedding

    def _finished(self, y: Float[Array, "*axes vocab_out"]) -> Float[Array, "*axes vocab_out"]:
        y = y * self.spec.logit_scale
        if self.spec.logit_softcap is None:
            return y
        return jnp.tanh(y / self.spec.logit_softcap) * self.spec.logit_softcap
