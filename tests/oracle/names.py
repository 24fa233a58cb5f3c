"""Names of writers, readers and edges, spelled as `embed->a0.h1<q>`, `a0.h1->m0`, `m0->logits`.

With `kv=True` the key and value inputs belong to key-value heads, not to query heads:
`m0->a1.kv0<k>`.
"""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

FAMILIES = ("gpt2", "llama", "gpt_neox", "gemma2", "bloom", "olmo2", "granite")
EXPERTS = ("gpt_oss", "qwen2_moe")  # as Llama but for MLPs and sinks: no tests of their own here


POST_NORM = ("gemma2", "olmo2")


@dataclass(frozen=True)
class Sizes:
    """What a graph needs to know of a model; `parallel` MLPs do not see their own layer's heads."""

    layers: int
    heads: int
    kv_heads: int
    parallel: bool


def sizes(config: PreTrainedConfig) -> Sizes:
    if config.model_type not in FAMILIES + EXPERTS:
        raise ValueError(f"the oracle knows the families {FAMILIES}, not {config.model_type!r}")
    fields: Any = config  # the attributes differ from family to family
    heads = fields.num_attention_heads
    kv_heads = getattr(fields, "num_key_value_heads", heads)
    return Sizes(
        fields.num_hidden_layers, heads, kv_heads, getattr(fields, "use_parallel_residual", False)
    )


def head_names(config: PreTrainedConfig, layer: int) -> list[str]:
    """The attention heads of one layer, lowest index first."""
    return [f"a{layer}.h{head}" for head in range(sizes(config).heads)]


def kv_head_names(config: PreTrainedConfig, layer: int) -> list[str]:
    """The key-value heads of one layer, lowest index first."""
    return [f"a{layer}.kv{group}" for group in range(sizes(config).kv_heads)]


def input_names(config: PreTrainedConfig, layer: int, head: int, kv: bool = False) -> list[str]:
    """The three readers, q, k and v, from which one query head works."""
    size, name = sizes(config), f"a{layer}.h{head}"
    kv_name = f"a{layer}.kv{head // (size.heads // size.kv_heads)}" if kv else name
    return [f"{name}<q>", f"{kv_name}<k>", f"{kv_name}<v>"]


def attention_readers(config: PreTrainedConfig, layer: int, kv: bool = False) -> list[str]:
    """Every q, k and v input of one layer, in forward order."""
    heads = head_names(config, layer)
    if not kv:
        return [f"{head}<{letter}>" for head in heads for letter in "qkv"]
    shared = [f"{name}<{letter}>" for name in kv_head_names(config, layer) for letter in "kv"]
    return [f"{head}<q>" for head in heads] + shared


def nodes_fed(config: PreTrainedConfig, reader: str) -> list[str]:
    """The writers that depend on this reader directly: one, or all heads of a key-value group."""
    node = reader.partition("<")[0]
    layer, is_kv, group = node.partition(".kv")
    if not is_kv:
        return [node]
    size = sizes(config).heads // sizes(config).kv_heads
    return [f"{layer}.h{head}" for head in range(int(group) * size, (int(group) + 1) * size)]


def nodes_moved(config: PreTrainedConfig, reader: str) -> list[str]:
    """The writers whose value can change with this reader's input.

    Under a post-norm these are all heads of the layer: one norm's divisor is made of what they all
    write.
    """
    fed = nodes_fed(config, reader)
    if "<" not in reader or config.model_type not in POST_NORM:
        return fed
    return head_names(config, int(fed[0].removeprefix("a").partition(".")[0]))


def writers_before(config: PreTrainedConfig, layer: int, mlp: bool = True) -> list[str]:
    """Writers that the attention of `layer` sees; `n_layers` stands for the final residual."""
    writers = ["embed"]
    for earlier in range(layer):
        writers += head_names(config, earlier)
        writers += [f"m{earlier}"] if mlp else []
    return writers


def upstream_of(
    config: PreTrainedConfig, mlp: bool = True, kv: bool = False
) -> dict[str, list[str]]:
    """Every reader of the residual stream with the writers before it, both in forward order."""
    size = sizes(config)
    upstream: dict[str, list[str]] = {}
    for layer in range(size.layers):
        before = writers_before(config, layer, mlp)
        upstream |= dict.fromkeys(attention_readers(config, layer, kv), before)
        if mlp:
            upstream[f"m{layer}"] = before + ([] if size.parallel else head_names(config, layer))
    upstream["logits"] = writers_before(config, size.layers, mlp)
    return upstream


def direct_edge_names(config: PreTrainedConfig) -> list[str]:
    """The reference's edges q_input->q, k_input->k, v_input->v: three for each head."""
    heads = [head for layer in range(sizes(config).layers) for head in head_names(config, layer)]
    return [f"{head}<{letter}>->{head}" for head in heads for letter in "qkv"]


def edge_names(
    config: PreTrainedConfig, direct: bool = False, mlp: bool = True, kv: bool = False
) -> list[str]:
    """Every edge of the graph; `mlp=False` leaves out MLPs, for models whose MLPs write zeros."""
    refuse_direct_with_kv(direct, kv)
    upstream = upstream_of(config, mlp, kv)
    edges = [f"{writer}->{reader}" for reader, writers in upstream.items() for writer in writers]
    return edges + direct_edge_names(config) if direct else edges


def refuse_direct_with_kv(direct: bool, kv: bool) -> None:
    if direct and kv:
        raise ValueError(
            "direct edges belong to query heads: direct=True and kv=True exclude each other"
        )
