"""The record of a compiled model: sizes, graph, tokenizer, and the memory that a search needs."""

from __future__ import annotations

from circuitgraph.catalog.compile_record import CompileRecord, MemoryRecord, TokenizerRecord
from circuitgraph.catalog.files import make_graph_record
from circuitgraph.engine.memory import choose_batch_sizes
from circuitgraph.engine.precision import count_bytes
from circuitgraph.errors import DataError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.sharding import count_cut_bytes, measure_weights
from circuitgraph.models.spec import Spec
from circuitgraph.models.tokenizer import Tokenizer

EXAMPLE = "The keys to the cabinet"
SIZES = (
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "d_model",
    "d_head",
    "d_mlp",
    "d_vocab",
    "d_vocab_out",
    "n_ctx",
)


def make_compile_record(
    model: LanguageModel,
    *,
    grouped: bool = False,
    n_prompts: int = 16,
    n_tokens: int = 16,
) -> CompileRecord:
    """Describe a model; ``parity`` and the hash of the weights are left open.

    Args:
        grouped: count one k and one v reader for each key-value head.
        n_prompts, n_tokens: sizes of the search whose memory is estimated.

    Raises:
        DataError: the model has no room for prompts of that many tokens.
        ArgumentError: not even one evaluation fits into memory.
    """
    if n_tokens > model.spec.n_ctx:
        raise DataError(
            f"Prompts of {n_tokens} tokens do not fit into the model's context of "
            f"{model.spec.n_ctx}: choose fewer."
        )
    graph = model.graph(grouped=grouped)
    return CompileRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        weights_sha256=None,
        precision=model.dtype,
        n_parameters=model.n_parameters,
        sizes={name: size for name in SIZES if (size := getattr(model.spec, name)) is not None},
        settings=describe_settings(model.spec),
        graph=make_graph_record(graph),
        tokenizer=make_tokenizer_record(model.tokenizer) if model.tokenizer else None,
        memory=make_memory_record(model, graph, n_prompts, n_tokens),
        parity=None,
    )


def make_memory_record(
    model: LanguageModel, graph: Graph, n_prompts: int, n_tokens: int
) -> MemoryRecord:
    """What a search needs; raises `ArgumentError` if not even one evaluation fits."""
    itemsize = count_bytes(model.dtype)
    weights = measure_weights(model.transformer)
    sizes = choose_batch_sizes(
        model.spec,
        graph,
        n_prompts,
        n_tokens,
        itemsize=itemsize,
        cut_weights=count_cut_bytes(model.transformer),
    )
    return MemoryRecord(
        n_prompts=n_prompts,
        n_tokens=n_tokens,
        bytes_weights=weights.whole,
        bytes_needed=sizes.bytes_needed,
        prompts_per_launch=sizes.prompts,
        shards=model.shards,
        bytes_on_device=None if model.shards is None else weights.largest,
        bytes_replicated=None if model.shards is None else weights.replicated,
    )


def make_tokenizer_record(tokenizer: Tokenizer) -> TokenizerRecord:
    """How text becomes tokens, shown on an example."""
    example = EXAMPLE
    if tokenizer.unknown_id in tokenizer.encode(example):
        # The vocabulary of a toy model: words that it has.
        example = tokenizer.decode(tokenizer.vocabulary()[:5])
    return TokenizerRecord(
        n_tokens=len(tokenizer),
        bos=tokenizer.bos,
        default_adds=tokenizer.list_default_additions(),
        example=example,
        example_tokens=tokenizer.tokens(tokenizer.encode(example)),
    )


def describe_settings(spec: Spec) -> list[str]:
    """What this model has beyond plain attention and MLPs, in words of the field."""
    windows = sorted({w for w in spec.windows if w is not None})
    norm_names = {None: "no pre-norm", "layer": "LayerNorm", "rms": "RMSNorm"}
    norm = norm_names[spec.norm.kind if spec.norm else None]
    group = spec.n_heads // spec.n_kv_heads
    n_windowed = sum(window is not None for window in spec.windows)
    experts = spec.experts
    facts = {
        norm: True,
        "post-norm": spec.post_norm is not None,
        "parallel attention and MLP": spec.parallel,
        f"grouped-query attention, {group} heads to a group": spec.n_kv_heads < spec.n_heads,
        "learned positions": spec.learned_positions,
        "rotary positions": bool(spec.ropes),
        "ALiBi": spec.alibi is not None,
        f"windows of {', '.join(map(str, windows))} tokens in "
        f"{n_windowed} of {spec.n_layers} layers": bool(windows),
        f"q/k norm over {spec.qk_norm_over.replace('_', ' ')}": spec.qk_norm is not None,
        f"scores capped at {spec.attn_softcap}": spec.attn_softcap is not None,
        "attention sinks": spec.attn_sinks,
        f"attention rate {spec.attn_rate}": spec.attn_rate != 1.0,
        f"token {spec.unseen_token} never looked at": spec.unseen_token is not None,
        f"logits capped at {spec.logit_softcap}": spec.logit_softcap is not None,
        "bidirectional attention": not spec.causal,
        f"{spec.activation} MLP": spec.d_mlp is not None,
        "gated MLP": spec.gated and spec.d_mlp is not None,
        f"{experts.n_active} of {experts.n_experts} experts" if experts else "": bool(experts),
        "an MLP that all tokens share": experts is not None and experts.d_shared is not None,
        f"gates clipped at {spec.gate_clip}": spec.gate_clip is not None,
        "tied unembedding": spec.tied,
    }
    return [fact for fact, true in facts.items() if true]
