"""What a transformer is, as data: sizes and switches, read off a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from circuitgraph.graph.graph import Graph

Activation = Literal[
    "gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "solu", "tanh", "identity"
]


@dataclass(frozen=True)
class NormSpec:
    """How a vector is normed.

    Attributes:
        kind: ``layer`` subtracts the mean first, ``rms`` does not.
        eps: added to the variance.
        weight, bias: whether the norm has them.
        offset: added to the weight (Gemma multiplies by 1 + w).
        cast_first: go back to the model's precision before the weight is applied (Llama), not
            after.
    """

    kind: Literal["layer", "rms"]
    eps: float
    weight: bool = True
    bias: bool = False
    offset: float = 0.0
    cast_first: bool = False


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: pair i turns by position x frequency i.

    Attributes:
        frequencies: radians per position, one for each rotated pair.
        factor: of cosine and sine, so that it enters the scores squared (YaRN, LongRoPE).
        context: prompts longer than this use ``longer`` (LongRoPE) or are stretched (dynamic NTK).
        longer: frequencies of prompts longer than ``context``.
        base, stretch: dynamic NTK's base and factor; a prompt of L > context tokens has the base
            ``base * (stretch * L / context - (stretch - 1)) ** (D / (D - 2))`` for D rotated
            dimensions.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0
    context: int | None = None
    longer: tuple[float, ...] | None = None
    base: float | None = None
    stretch: float | None = None


@dataclass(frozen=True)
class Alibi:
    """A bias of ``slope * position of the key * scale`` on each head's scores.

    ``rounded``: slope times position is rounded to bfloat16, whatever the model's precision, as in
    Falcon.
    """

    slopes: tuple[float, ...]
    scale: float = 1.0
    rounded: bool = False


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: ``n_active`` of ``n_experts`` MLPs of width d_mlp are used.

    Attributes:
        renormalise: the weights of the active ones are made to sum to one.
        scores: what the weights are made of: the router's softmax, or sigmoids of its outputs.
        router_bias: the router has a bias.
        choice_bias: a bias is added to the scores by which experts are chosen, not to the weights.
        scale: of the weights, after everything else.
        d_shared: hidden width of a gated MLP that all tokens use beside their experts; None
            without it.
        shared_gate: what that MLP writes is multiplied with the sigmoid of a number read from its
            input.
    """

    n_experts: int
    n_active: int
    renormalise: bool
    # Not in the repr, as `Spec.attn_rate`.
    scores: Literal["softmax", "sigmoid"] = field(default="softmax", repr=False)
    router_bias: bool = field(default=False, repr=False)
    choice_bias: bool = field(default=False, repr=False)
    scale: float = field(default=1.0, repr=False)
    d_shared: int | None = field(default=None, repr=False)
    shared_gate: bool = field(default=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that the forward pass of a decoder depends on but the weights.

    The decoder's blocks add to one residual stream.

    Attributes:
        n_kv_heads: key-value heads; query head h reads key-value head ``h // (n_heads /
            n_kv_heads)``.
        d_mlp: hidden width of the MLPs (of one expert); None if the layers have none.
        d_vocab, d_vocab_out: tokens that can be read, and predicted.
        n_ctx: longest prompt.
        parallel: the MLP reads the same stream as the attention of its layer, not what that has
            written.

        norm: of each sublayer's input; None where sublayers read the stream as it is.
        final_norm, embed_norm: before the unembedding, and after the embedding.
        post_norm: of each sublayer's output, before it is added to the stream. Root mean square
            only.
        qk_norm: of queries and keys, after their projection.
        qk_norm_over: ``head`` with one weight for all heads, ``each_head`` with one per head, or
            ``width``: over all heads together. There a head's divisor comes from its own input
            alone.

        learned_positions: the model has a table of position embeddings.
        ropes: the rotary embeddings of the model.
        rope_of_layer: index into ``ropes`` for each layer, None where it does not rotate; empty
            without any.
        rope_pairs: dimension i of n turns with i + n/2 (``halves``) or 2i with 2i + 1
            (``neighbours``).
        alibi: biases by position.

        attn_scales: what each layer multiplies its query-key products with.
        attn_softcap: c in ``c * tanh(scores / c)``.
        attn_rate: a query looks at each key that it sees with the weight ``attn_rate * softmax +
            1 - attn_rate``. The constant is no share of one: the weights of n keys sum to
            ``attn_rate + n * (1 - attn_rate)`` (Zhong et al. 2023, "The Clock and the Pizza").
        attn_sinks: each head has a score of its own beside those of the keys, whose share of the
            softmax fetches nothing.
        windows: how many positions, its own included, a query sees in each layer; None for all;
            empty for all layers.
        causal: queries do not see later positions.
        unseen_token: attention never looks at this token (a pad inside the text, in toy models).
        clip_qkv: queries, keys and values are clipped to +- this.
        qkv_bias, o_bias, mlp_bias, unembed_bias: which biases exist.

        activation: of the MLPs. ``gelu`` is the erf form, ``gelu_tanh`` the tanh approximation.
        gated: hidden = activation(gate) * in.
        gate_clip: c in hidden = activation(min(gate, c)) * (1 + clip(in, -c, c)) (gpt-oss).
        hidden_norm: of the MLP's hidden layer (SoLU).
        experts: the MLPs are mixtures of experts.

        embed_scale, residual_scale, logit_scale: factors of the token embedding, of every
            sublayer's output, of the logits.
        logit_softcap: c in ``c * tanh(logits / c)``.
        tied: unembedding = embedding.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    d_mlp: int | None
    d_vocab: int
    d_vocab_out: int
    n_ctx: int
    parallel: bool = False

    norm: NormSpec | None
    final_norm: NormSpec | None
    embed_norm: NormSpec | None = None
    post_norm: NormSpec | None = None
    qk_norm: NormSpec | None = None
    qk_norm_over: Literal["head", "each_head", "width"] = "head"

    learned_positions: bool = False
    ropes: tuple[Rope, ...] = ()
    rope_of_layer: tuple[int | None, ...] = ()
    rope_pairs: Literal["halves", "neighbours"] = "halves"
    alibi: Alibi | None = None

    attn_scales: tuple[float, ...]
    attn_softcap: float | None = None
    # Not in the repr, of which fingerprints are made: models of before this field keep theirs.
    attn_rate: float = field(default=1.0, repr=False)
    attn_sinks: bool = field(default=False, repr=False)
    windows: tuple[int | None, ...] = ()
    causal: bool = True
    unseen_token: int | None = None
    clip_qkv: float | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    unembed_bias: bool = False

    activation: Activation = "identity"
    gated: bool = False
    gate_clip: float | None = field(default=None, repr=False)
    hidden_norm: NormSpec | None = None
    experts: Experts | None = None

    embed_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    tied: bool = False

    @property
    def late_settings(self) -> str:
        """The settings that are not in the repr, as far as they are away from their defaults."""
        return "".join(
            f"{setting.name}={getattr(part, setting.name)!r}"
            for part in (self, self.experts)
            if part is not None
            for setting in fields(part)
            if not setting.repr and getattr(part, setting.name) != setting.default
        )

    def graph(self, *, direct: bool = False, grouped: bool = False) -> Graph:
        """The graph of this model; ``direct`` as in `Graph`.

        ``grouped``: one k and one v reader for each key-value head, not for each query head.
        """
        return Graph(
            self.n_layers,
            self.n_heads,
            mlp=self.d_mlp is not None,
            direct=direct,
            parallel=self.parallel,
            coupled=self.post_norm is not None,
            n_kv_heads=self.n_kv_heads if grouped else None,
        )
