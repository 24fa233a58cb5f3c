"""The one transformer: every family is a setting of it, and the engine runs its parts.

Axis names: ``batch``, ``pos`` (query positions), ``d`` (d_model), ``heads``, ``d_head``, ``d_mlp``,
``vocab``. ``*layers`` is one axis where the blocks' weights are stacked over layers, so that one
compiled layer serves all, and no axis inside that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.graph.graph import Graph
from circuitgraph.models.attention import Attention
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.head_sources import (
    HeadSources,
    LayerSources,
    find_keys,
    make_head_sources,
)
from circuitgraph.models.mlp import MLP
from circuitgraph.models.norms import Norm, apply_norm
from circuitgraph.models.positions import (
    LayerSettings,
    Positions,
    make_layer_settings,
    make_positions,
)
from circuitgraph.models.spec import Spec
from circuitgraph.models.split_mlp import SplitMlp
from circuitgraph.models.units import LayerUnits, Units, make_units

Stream = Float[Array, "batch pos d"]
Edit = Callable[[str, Array], Array]
"""From the name of a value inside a layer and the value to the value that the run goes on with."""


class OtherTokens(NamedTuple):
    """Tokens that are not run, and whose keys and values a run's own tokens look at as well.

    Attributes:
        stream: before the layer.
        positions: of all keys, the others' first; a run's own `Positions` see them in that order.
    """

    stream: Float[Array, "batch others d"]
    positions: Positions


@dataclass(frozen=True)
class LayerRun:
    """One layer, run on a stream: everything that anybody asks of it.

    Attributes:
        x: the stream before the layer, which the heads read.
        others: tokens beside those of ``x`` that the heads look at.
        z: what each head fetched, [heads, batch, pos, d_head].
        after_attention: the stream with what the attention adds to it.
        mlp_input: what the MLP reads; None without one, as ``mlp`` is.
        mlp: what the MLP adds to the stream.
        after: the stream after the layer.
    """

    block: Block
    positions: Positions
    settings: LayerSettings
    x: Stream
    z: Float[Array, "heads batch pos d_head"]
    after_attention: Stream
    mlp_input: Stream | None
    mlp: Stream | None
    after: Stream
    others: OtherTokens | None = None

    @property
    def heads(self) -> Float[Array, "heads batch pos d"]:
        """What each head adds to the stream."""
        return self.block.attention.head_contributions(self.z)

    @property
    def raw_heads(self) -> Float[Array, "heads batch pos d"]:
        """What each head writes into the post-norm; without one the same as ``heads``."""
        return jax.vmap(self.block.attention.head_output)(self.z, jnp.arange(len(self.z)))

    @property
    def writers(self) -> Float[Array, "writers batch pos d"]:
        """What the layer's writers add to the stream, in their order: each head, then the MLP."""
        return self.heads if self.mlp is None else jnp.concatenate([self.heads, self.mlp[None]])

    @property
    def pattern(self) -> Float[Array, "heads batch queries keys"]:
        """Where each head attends."""
        attention = self.block.attention
        x, key_positions = list_keys(self.x, self.positions, self.others)
        q = attention.project_queries(self.x[None], self.positions, self.settings)
        k = attention.project_keys(x[None], key_positions, self.settings)
        k = jnp.repeat(k, len(q) // len(k), axis=0)
        return attention.attention_pattern(q, k, self.positions, self.settings)

    @property
    def hidden(self) -> Float[Array, "batch pos d_mlp"] | None:
        """What the MLP's output weights read, before an edit of it; None without an MLP.

        Not defined with experts.
        """
        if self.block.mlp is None or self.mlp_input is None:
            return None
        return self.block.mlp.read_hidden(self.mlp_input)


def list_keys(
    x: Stream, positions: Positions, others: OtherTokens | None
) -> tuple[Float[Array, "batch keys d"], Positions]:
    """The stream of all tokens that heads look at, and its positions."""
    if others is None:
        return x, positions
    return jnp.concatenate([others.stream, x], axis=1), others.positions


def keep_value(name: str, value: Array) -> Array:
    """The edit that changes nothing."""
    del name
    return value


class Block(eqx.Module):
    """One layer: attention, and an MLP if the model has any, after it or beside it.

    The order of a layer (heads, constant, MLP, residual stream) is written here and nowhere else.
    """

    attention: Attention
    mlp: MLP | None

    def run(
        self,
        x: Stream,
        positions: Positions,
        settings: LayerSettings,
        *,
        by_head: bool = False,
        edit: Edit = keep_value,
        others: OtherTokens | None = None,
    ) -> LayerRun:
        """Run the layer on a stream.

        Args:
            by_head: add the heads' contributions one by one, so that the stream is the sum of its
                writers to the last bit, not only up to rounding.
            edit: applied to what the heads fetch (``"z"``), to what the output weights of an MLP
                without experts read (``"hidden"``), and to what the attention (``"attention"``,
                constant included; not by head) and the MLP (``"mlp"``) add to the stream.
            others: tokens beside these that the heads look at.
        """
        keys, at = list_keys(x, positions, others)
        z = self.attention.compute_z(x[None], keys[None], keys[None], positions, settings, at)
        z = edit("z", z)
        if by_head:
            heads = self.attention.head_contributions(z)
            after_attention = x + heads.sum(0) + self.attention.constant
        else:
            after_attention = x + edit("attention", self.attention.combine_heads(z))
        if self.mlp is None:
            parts = (after_attention, None, None, after_attention)
            return LayerRun(self, positions, settings, x, z, *parts, others)
        read = self.mlp_input(x, after_attention)
        mlp = edit("mlp", self.mlp(read, partial(edit, "hidden")))
        after = after_attention + mlp
        parts = (after_attention, read, mlp, after)
        return LayerRun(self, positions, settings, x, z, *parts, others)

    def run_heads(
        self,
        x_q: Float[Array, "one_or_heads batch pos d"],
        x_k: Float[Array, "one_or_any_heads batch pos d"],
        x_v: Float[Array, "one_or_any_heads batch pos d"],
        positions: Positions,
        settings: LayerSettings,
        own: LayerSources | None = None,
        sources: Int[Array, "batch names"] | None = None,
    ) -> Float[Array, "heads_and_parts batch pos d"]:
        """What each head adds to the stream, given inputs of its own.

        Args:
            own: the named parts of the layer's heads, whose values follow those of the heads; of a
                split head that of its rest is then in its place. None where all heads are whole.
            sources: where each source stands in each prompt; needed with ``own``.
        """
        if own is None:
            z = self.attention.compute_z(x_q, x_k, x_v, positions, settings)
            return self.attention.head_contributions(z)
        assert sources is not None  # noqa: S101 - batches of graphs with split heads have them
        keys = find_keys(own, sources, x_k.shape[-2])
        z = self.attention.compute_z_by_source(x_q, x_k, x_v, positions, settings, own.heads, keys)
        heads = jnp.concatenate([jnp.arange(self.attention.spec.n_heads), own.heads])
        return self.attention.head_contributions(z, heads)

    def mlp_input(
        self, x: Float[Array, "*axes d"], after_attention: Float[Array, "*axes d"]
    ) -> Float[Array, "*axes d"]:
        """What the MLP reads: the layer's own input where it stands beside the attention."""
        return x if self.attention.spec.parallel else after_attention


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
    # nodes of a refined graph; the run is the same
    units: Units | None = None
    sources: HeadSources | None = None

    def __call__(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos vocab_out"]:
        """Logits at every position of right-padded prompts; ``mask`` is True on real tokens."""
        return self.unembed(self.final_residual(tokens, mask, positions))

    def final_residual(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
    ) -> Float[Array, "batch pos d"]:
        """The final residual stream, before the last norm."""
        positions_in_layers = self.positions_of(tokens, mask, positions)

        def run_layer(x: Stream, layer: tuple[Block, LayerSettings]) -> tuple[Stream, None]:
            block, settings = layer
            return block.run(x, positions_in_layers, settings).after, None

        x, _ = jax.lax.scan(run_layer, self.embed(tokens, positions), self.stacked_layers())
        return x

    def positions_of(
        self,
        tokens: Int[Array, "batch pos"],
        mask: Bool[Array, "batch pos"],
        positions: Int[Array, "batch pos"],
        seen: Bool[Array, "batch pos"] | None = None,
    ) -> Positions:
        """What attention needs to know of positions; arguments as of `make_positions`."""
        return make_positions(self.spec, tokens, mask, positions, seen)

    def stacked_layers(self) -> tuple[Block, LayerSettings]:
        """All layers' weights and settings, stacked: what a scan over layers runs through."""
        return self.blocks, make_layer_settings(self.spec)

    def with_units(
        self, graph: Graph, dictionaries: Mapping[int, Dictionary] | None = None
    ) -> Transformer:
        """The same network, with the units and parts of heads of a refined graph beside it.

        Args:
            dictionaries: by the layer whose MLP they take apart.

        Raises:
            ArgumentError: units that the MLPs or dictionaries do not have; see `make_units`.
        """
        units = make_units(self.blocks.mlp, graph, dictionaries or {})
        return replace(self, units=units, sources=make_head_sources(graph))

    def split_mlp(self, mlp: MLP, own: LayerUnits) -> SplitMlp:
        """A layer's MLP in its parts."""
        return SplitMlp(mlp, own, None if self.units is None else self.units.features)

    @property
    def layers_of_units(self) -> LayerUnits | None:
        """Which units are whose, for scans over layers; None without any."""
        return None if self.units is None else self.units.layers

    @property
    def layers_of_sources(self) -> LayerSources | None:
        """Which parts of heads are whose, for scans over layers; None without any."""
        return None if self.sources is None else self.sources.layers

    @property
    def n_head_slots(self) -> int:
        """How many vectors the heads of a layer write; as of `Graph.n_head_slots`."""
        return self.spec.n_heads + (0 if self.sources is None else self.sources.most)

    def select_layer(self, number: Int[Array, ""] | Any) -> tuple[Block, LayerSettings]:
        """One layer's weights and settings; which one may be known at run time only."""
        return jax.tree.map(lambda stacked: stacked[number], self.stacked_layers())

    def embed(
        self, tokens: Int[Array, "batch pos"], positions: Int[Array, "batch pos"]
    ) -> Float[Array, "batch pos d"]:
        """What the writer ``embed`` writes: scaled token plus position embedding, after a norm."""
        x = self.embedding[tokens]
        if self.spec.embed_scale != 1.0:
            x = x * jnp.array(self.spec.embed_scale, x.dtype)
        if self.positional is not None:
            x = x + self.positional[positions]
        return apply_norm(self.embed_norm, x)

    def unembed(self, x: Float[Array, "*axes d"]) -> Float[Array, "*axes vocab_out"]:
        """Final norm and unembedding of a final residual stream."""
        y = jnp.einsum("...d,vd->...v", apply_norm(self.final_norm, x), self._unembedding)
        return self._scale_logits(y if self.b_unembed is None else y + self.b_unembed)

    def unembed_tokens(
        self, x: Float[Array, "batch d"], tokens: Int[Array, "batch n"]
    ) -> Float[Array, "batch n"]:
        """Some columns of `unembed`: those of each example's own tokens."""
        y = jnp.einsum("bd,bnd->bn", apply_norm(self.final_norm, x), self._unembedding[tokens])
        return self._scale_logits(y if self.b_unembed is None else y + self.b_unembed[tokens])

    def attribute_logits(
        self,
        part: Float[Array, "*axes batch d"],
        whole: Float[Array, "batch d"],
        tokens: Int[Array, "batch n"],
    ) -> Float[Array, "*axes batch n"]:
        """What a part of a final stream adds to some logits, before a soft cap.

        Exact, given the divisor of the whole: over parts that sum to the whole, it and
        `constant_logits` sum to the logits.
        """
        if self.final_norm is not None:
            part = self.final_norm.apply_to_part(part, whole)
        return jnp.einsum("...bd,bnd->...bn", part, self._unembedding[tokens]) * (
            self.spec.logit_scale
        )

    def constant_logits(self, tokens: Int[Array, "batch n"]) -> Float[Array, "batch n"]:
        """What biases add to some logits, whatever the stream is, before a soft cap."""
        total = jnp.zeros(tokens.shape, self.embedding.dtype)
        if self.final_norm is not None and self.final_norm.bias is not None:
            bias = self.final_norm.bias.astype(total.dtype)
            total = jnp.einsum("d,bnd->bn", bias, self._unembedding[tokens])
        if self.b_unembed is not None:
            total = total + self.b_unembed[tokens]
        return total * self.spec.logit_scale

    def project_rows(self, rows: Float[Array, "*n d"]) -> Float[Array, "*n vocab_out"]:
        """What rows behind the last norm add to the logits, before a soft cap."""
        return jnp.einsum("...d,vd->...v", rows, self._unembedding) * self.spec.logit_scale

    @property
    def bias_logits(self) -> Float[Array, " vocab_out"] | float:
        """What the unembedding's bias adds to the logits, before a soft cap."""
        return 0.0 if self.b_unembed is None else self.b_unembed * self.spec.logit_scale

    @property
    def _unembedding(self) -> Float[Array, "vocab_out d"]:
        return self.embedding if self.unembedding is None else self.unembedding

    def _scale_logits(self, y: Float[Array, "*axes vocab_out"]) -> Float[Array, "*axes vocab_out"]:
        y = y * self.spec.logit_scale
        if self.spec.logit_softcap is None:
            return y
        return jnp.tanh(y / self.spec.logit_softcap) * self.spec.logit_softcap
