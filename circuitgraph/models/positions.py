"""Where tokens stand: who sees whom, and how queries and keys are turned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.models.spec import Alibi, Rope, Spec

FOREVER = 2**30  # a window wider than any prompt


class Positions(NamedTuple):
    """What all layers know of a batch's positions, made once per run.

    Attributes:
        visible: which key (last axis) each query sees, windows apart.
        back: how many tokens each key lies before the query.
        cos, sin: turns of every rotary embedding of the model, and of one that does not turn; None
            without any.
        bias: ALiBi's, of each head, by the key's position; None without it.
    """

    visible: Bool[Array, "batch queries keys"]
    back: Int[Array, "batch queries keys"]
    cos: Float[Array, "ropes batch pos half"] | None
    sin: Float[Array, "ropes batch pos half"] | None
    bias: Float[Array, "heads batch one keys"] | None

    def queries_at(self, at: Int[Array, "batch scored"]) -> Positions:
        """The positions of some queries of each prompt; not for keys."""
        visible, back = (
            jnp.take_along_axis(x, at[:, :, None], axis=1) for x in (self.visible, self.back)
        )
        turns = (self.cos, self.sin)  # [ropes, batch, pos, half]: their positions are axis 2
        cos, sin = (
            None if t is None else jnp.take_along_axis(t, at[None, :, :, None], 2) for t in turns
        )
        return Positions(visible, back, cos, sin, self.bias)

    def map_prompts(self, function: Callable[[int, Array], Array]) -> Positions:
        """Call a function with each array and the number of its axis of prompts."""
        cos, sin, bias = (
            None if array is None else function(1, array)
            for array in (self.cos, self.sin, self.bias)
        )
        return Positions(function(0, self.visible), function(0, self.back), cos, sin, bias)


class LayerSettings(NamedTuple):
    """What differs from layer to layer beside the weights.

    Attributes:
        scale: of the query-key products.
        window: positions that a query sees.
        rope: index into the turns of `Positions`.
    """

    scale: Float[Array, "*layers"]
    window: Int[Array, "*layers"]
    rope: Int[Array, "*layers"]


def make_layer_settings(spec: Spec) -> LayerSettings:
    """The settings of all layers, stacked."""
    windows = [FOREVER if w is None else w for w in spec.windows or [None] * spec.n_layers]
    still = len(spec.ropes)  # the turns that do not turn come last
    ropes = [still if r is None else r for r in spec.rope_of_layer or [None] * spec.n_layers]
    return LayerSettings(jnp.array(spec.attn_scales), jnp.array(windows), jnp.array(ropes))


def make_positions(
    spec: Spec,
    tokens: Int[Array, "batch pos"],
    mask: Bool[Array, "batch pos"],
    positions: Int[Array, "batch pos"],
    seen: Bool[Array, "batch pos"] | None = None,
) -> Positions:
    """The positions of right-padded prompts; ``mask`` is True on real tokens.

    Args:
        seen: which keys may be looked at, where the keys are those of other prompts; by default
            those of `find_seen`.
    """
    n = mask.shape[-1]
    keys: Bool[Array, "batch pos"] = find_seen(spec, tokens, mask) if seen is None else seen
    visible = jnp.broadcast_to(keys[:, None, :], (len(mask), n, n))
    back = jnp.broadcast_to(jnp.arange(n)[:, None] - jnp.arange(n), visible.shape)
    if spec.causal:
        visible = visible & (back >= 0)
    bias = None if spec.alibi is None else make_alibi_bias(spec.alibi, positions)
    if not spec.ropes:
        return Positions(visible, back, None, None, bias)
    lengths = mask.sum(-1)
    turns = [_compute_rotations(rope, positions, lengths) for rope in spec.ropes]
    still = jnp.ones_like(turns[0][0]), jnp.zeros_like(turns[0][1])
    cos, sin = (jnp.stack(part) for part in zip(*turns, still, strict=True))
    return Positions(visible, back, cos, sin, bias)


def find_seen(spec: Spec, tokens: Any, mask: Any) -> Any:
    """Which keys [batch, pos] may be looked at: all real tokens but the one nobody looks at."""
    return mask if spec.unseen_token is None else mask & (tokens != spec.unseen_token)


def _compute_rotations(
    rope: Rope, positions: Int[Array, "batch pos"], lengths: Int[Array, " batch"]
) -> tuple[Float[Array, "batch pos half"], Float[Array, "batch pos half"]]:
    """Cosine and sine of each position's turn; in float32, as everybody computes them."""
    frequencies = jnp.broadcast_to(
        jnp.array(rope.frequencies, jnp.float32), (len(lengths), len(rope.frequencies))
    )
    beyond = (lengths > (rope.context or FOREVER))[:, None]
    if rope.longer is not None:
        frequencies = jnp.where(beyond, jnp.array(rope.longer, jnp.float32), frequencies)
    if rope.base is not None and rope.stretch is not None and rope.context is not None:
        dims = 2 * len(rope.frequencies)
        growth = rope.stretch * lengths.astype(jnp.float32) / rope.context - (rope.stretch - 1)
        base = rope.base * growth ** (dims / (dims - 2))
        exponents = jnp.arange(0, dims, 2, dtype=jnp.float32) / dims
        frequencies = jnp.where(beyond, 1.0 / base[:, None] ** exponents, frequencies)
    angles = positions[..., None].astype(jnp.float32) * frequencies[:, None, :]
    return jnp.cos(angles) * rope.factor, jnp.sin(angles) * rope.factor


def apply_rope(
    x: Float[Array, "heads batch pos d_head"],
    positions: Positions,
    settings: LayerSettings,
    spec: Spec,
) -> Array:
    """Queries or keys, their first dimensions turned by position."""
    if positions.cos is None or positions.sin is None:
        return x
    cos, sin = (t[settings.rope].astype(x.dtype) for t in (positions.cos, positions.sin))
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    if spec.rope_pairs == "neighbours":
        first, second = x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]
    first, second = first * cos - second * sin, second * cos + first * sin
    if spec.rope_pairs == "neighbours":
        return jnp.concatenate(
            [jnp.stack([first, second], -1).reshape(*x.shape[:-1], 2 * half), rest], -1
        )
    return jnp.concatenate([first, second, rest], -1)


def make_alibi_bias(
    alibi: Alibi, positions: Int[Array, "batch pos"]
) -> Float[Array, "heads batch one pos"]:
    """ALiBi's bias by the key's position; the query's would fall out of the softmax."""

    def round_bfloat16(x: Array) -> Array:
        # XLA may drop a conversion to bfloat16 and back, but not this
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7) if alibi.rounded else x

    slopes = round_bfloat16(jnp.array(alibi.slopes, jnp.float32))
    keys = round_bfloat16(positions[None, :, None, :].astype(jnp.float32))
    return round_bfloat16(slopes[:, None, None, None] * keys) * alibi.scale
