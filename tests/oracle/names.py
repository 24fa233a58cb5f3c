"""Names of writers, readers and edges, spelled as `embed->a0.h1<q>`, `a0.h1->m0`, `m0->logits`."""

from transformers import GPT2Config


def head_names(config: GPT2Config, layer: int) -> list[str]:
    """The attention heads of one layer, lowest index first."""
    return [f"a{layer}.h{head}" for head in range(config.n_head)]


def writers_before(config: GPT2Config, layer: int, mlp: bool = True) -> list[str]:
    """Writers that the attention of `layer` sees; `layer = n_layer` gives those of the final residual."""
    writers = ["embed"]
    for earlier in range(layer):
        writers += head_names(config, earlier)
        writers += [f"m{earlier}"] if mlp else []
    return writers


def upstream_of(config: GPT2Config, mlp: bool = True) -> dict[str, list[str]]:
    """Every reader of the residual stream with the writers before it, both in forward order."""
    upstream: dict[str, list[str]] = {}
    for layer in range(config.n_layer):
        before = writers_before(config, layer, mlp)
        for head in head_names(config, layer):
            upstream |= {f"{head}<{letter}>": before for letter in "qkv"}
        if mlp:  # an MLP also sees the heads of its own layer
            upstream[f"m{layer}"] = before + head_names(config, layer)
    upstream["logits"] = writers_before(config, config.n_layer, mlp)
    return upstream


def direct_edge_names(config: GPT2Config) -> list[str]:
    """The reference's edges q_input->q, k_input->k, v_input->v: three for each head."""
    heads = [head for layer in range(config.n_layer) for head in head_names(config, layer)]
    return [f"{head}<{letter}>->{head}" for head in heads for letter in "qkv"]


def edge_names(config: GPT2Config, direct: bool = False, mlp: bool = True) -> list[str]:
    """Every edge of the graph; `mlp=False` leaves out MLPs, for models in which they output exactly zero."""
    upstream = upstream_of(config, mlp)
    edges = [f"{writer}->{reader}" for reader, writers in upstream.items() for writer in writers]
    return edges + direct_edge_names(config) if direct else edges
