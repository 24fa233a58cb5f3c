"""Neuronpedia's attribution graphs: a circuit as its viewer, and circuit-tracer's, draw one.

Written from the schema that Neuronpedia publishes (``graph-schema.json``) and from circuit-tracer's
``graph_models.py``. There a node is a feature at one position of one prompt; ours have none.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from circuitgraph.catalog.formats.base import Encoded, encoder
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.node import Node

_TYPES = {  # what circuit-tracer has a name for has that name
    "head": "attention head",
    "mlp": "mlp",
    "neuron": "mlp neuron",
    "rest": "mlp rest",
    "feature": "cross layer transcoder",
    "error": "mlp reconstruction error",
}
_MARKS = {"head": "h", "neuron": "n"}


@encoder("neuronpedia", suffix=".json")
def encode_neuronpedia(
    circuit: Circuit,
    prompt: str,
    tokens: tuple[str, ...],
    token_ids: tuple[int, ...],
    answer: str,
    answer_id: int,
    probability: float,
    slug: str = "circuit",
) -> Encoded:
    """Neuronpedia, circuit-tracer: the circuit as an attribution graph of one prompt.

    Args:
        prompt: its text.
        tokens, token_ids: its tokens, as texts and as numbers.
        answer, answer_id: the token that the logits are about.
        probability: that the model gives to the answer.
        slug: the graph's name on Neuronpedia.
    """
    if not tokens or len(tokens) != len(token_ids):
        raise ArgumentError(
            f"A prompt of {len(tokens)} tokens and {len(token_ids)} numbers was given: one number "
            "for each token, and at least one, are needed."
        )
    weights = _sum_scores(circuit)
    names = list(dict.fromkeys(name for ends in weights for name in ends))
    last = len(tokens) - 1
    nodes = {name: _describe_node(circuit, name, last) for name in names}
    if "embed" in nodes:
        nodes["embed"] |= {"node_id": f"E_{token_ids[0]}_0", "jsNodeId": f"E_{token_ids[0]}-0"}
    if "logits" in nodes:
        nodes["logits"] |= {
            "node_id": f"{circuit.graph.n_layers + 1}_{answer_id}_{last}",
            "jsNodeId": f"L_{answer_id}-{last}",
            "feature": answer_id,
            "clerp": f'Output "{answer}" (p={probability:.3f})',
            "token_prob": probability,
            "is_target_logit": True,
        }
    ids = {name: node["node_id"] for name, node in nodes.items()}
    content = {
        "metadata": _describe_graph(circuit, prompt, tokens, slug),
        "qParams": {
            "pinnedIds": list(ids.values()),
            "supernodes": [],
            "linkType": "both",
            "clickedId": ids.get("logits", ""),
            "sg_pos": "",
        },
        "nodes": list(nodes.values()),
        "links": [
            {"source": ids[source], "target": ids[target], "weight": weight}
            for (source, target), weight in weights.items()
        ],
    }
    return Encoded(json.dumps(content).encode(), tuple(_describe_losses(circuit)))


def _sum_scores(circuit: Circuit) -> dict[tuple[str, str], float]:
    """The score of what one node gives another one, over q, k and v; 1 for each without scores."""
    graph, (dst, src) = circuit.graph, circuit.graph.ends
    kept = np.flatnonzero(circuit.mask & (src >= 0))
    writers = {graph.writers[index].name for index in src[kept]}
    weights: dict[tuple[str, str], float] = {}
    for edge in kept:
        reader, source = graph.readers[dst[edge]], graph.writers[src[edge]].name
        effect = circuit.effect_of(edge)
        for target in graph.reader_nodes(reader):
            if reader.feeds_parts and target not in writers:
                continue  # a part of an MLP that feeds nothing
            weight = 1.0 if circuit.scores is None else effect or 0.0
            weights[source, target] = weights.get((source, target), 0.0) + weight
    return weights


def _describe_node(circuit: Circuit, name: str, last: int) -> dict[str, Any]:
    node = Node.parse(name)
    if node.kind in ("embed", "logits"):
        is_embed = node.kind == "embed"
        return {
            "node_id": name,
            "feature": 0,
            "layer": "E" if is_embed else str(circuit.graph.n_layers + 1),
            "ctx_idx": 0 if is_embed else last,
            "feature_type": "embedding" if is_embed else "logit",
            "jsNodeId": name,
            "clerp": "all tokens" if is_embed else name,
        }
    number = _number_node(node)
    return {
        "node_id": f"{node.layer}_{number}_{last}",
        "feature": _pair_numbers(node.layer, node.index) if node.kind == "feature" else None,
        "layer": str(node.layer),
        "ctx_idx": last,
        "feature_type": _TYPES[node.kind],
        "jsNodeId": f"{node.layer}_{number}-0",
        "clerp": name,
    }


def _number_node(node: Node) -> str:
    """The middle part of a node's id: a feature's number, -1 of an error, else a word of ours."""
    if node.kind == "error":
        return "-1"
    return f"{_MARKS.get(node.kind, '')}{node.index}" if node.index >= 0 else node.kind


def _pair_numbers(layer: int, feature: int) -> int:
    """Cantor's pairing, by which circuit-tracer numbers the features of all layers."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def _describe_graph(
    circuit: Circuit, prompt: str, tokens: tuple[str, ...], slug: str
) -> dict[str, Any]:
    facts = circuit.provenance
    settings = {part: facts[part] for part in ("metric", "ablation") if facts.get(part)}
    settings |= {
        part: facts[part]["name"] for part in ("task", "algorithm") if (facts.get(part) or {})
    }
    generator = {"name": "circuitgraph", "url": "https://github.com/circuitgraph/circuitgraph"}
    return {
        "slug": slug,
        "scan": (facts.get("model") or {}).get("name") or "unknown",
        "transcoder_list": [],
        "prompt_tokens": list(tokens),
        "prompt": prompt,
        "node_threshold": 1.0,
        "schema_version": 1,
        "info": {"generator": generator},
        "generation_settings": settings,
    }


def _describe_losses(circuit: Circuit) -> list[str]:
    notes = [
        "Nodes here have no position: the embedding, which stands for all tokens, is shown at the "
        "first token, every other node at the last.",
        "The weight of a link sums the scores of its q, k and v edges; edges that are not kept are "
        "left out.",
    ]
    task = circuit.provenance.get("task")
    if circuit.scores is None:
        notes.append("The circuit has no scores: every edge counts 1.")
    elif task is not None and task["n_prompts"] > 1:
        notes.append(
            f"The scores are means over the {task['n_prompts']} prompts of the search, not of this "
            "one: search with --limit 1 for those of one."
        )
    if (circuit.mask & (circuit.graph.ends[1] < 0)).any():
        notes.append("Direct q, k and v edges lead from a head to itself and are left out.")
    return notes
