"""An attribution graph is as Neuronpedia's schema and circuit-tracer's own models want it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt, StrictStr

from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.export import export_circuit

PROMPT: dict[str, Any] = {
    "prompt": "a b",
    "tokens": ("a", " b"),
    "token_ids": (5, 6),
    "answer": " c",
    "answer_id": 9,
    "probability": 0.25,
}


# What the published schema requires (draft-07, title "Anthropic Attribution Graph", 1.0.0), with
# the types of circuit-tracer's pydantic models where these say more.


class Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class About(Part):
    slug: StrictStr
    scan: StrictStr
    transcoder_list: list[StrictStr]
    prompt_tokens: list[StrictStr]
    prompt: StrictStr
    node_threshold: StrictFloat
    schema_version: StrictInt


class Saved(Part):
    pinnedIds: list[StrictStr]  # noqa: N815 - theirs
    supernodes: list[list[StrictStr]]
    linkType: StrictStr  # noqa: N815
    clickedId: StrictStr  # noqa: N815
    sg_pos: StrictStr


class Place(Part):
    node_id: StrictStr
    feature: StrictInt | None
    layer: StrictStr
    ctx_idx: StrictInt
    feature_type: StrictStr
    jsNodeId: StrictStr  # noqa: N815
    clerp: StrictStr


class Link(Part):
    source: StrictStr
    target: StrictStr
    weight: StrictFloat


class Attribution(Part):
    metadata: About
    qParams: Saved  # noqa: N815
    nodes: list[Place]
    links: list[Link]


def export(circuit: Circuit, path: Path, **changes: Any) -> tuple[Attribution, str]:
    notes = export_circuit(circuit, path, "neuronpedia", **(PROMPT | changes))
    content = json.loads(path.read_text())
    return Attribution.model_validate(content), " ".join(notes)


def test_heads_and_mlps(tmp_path: Path) -> None:
    graph = Graph(2, 2)
    edges = ["embed->a0.h1<q>", "embed->a0.h1<v>", "a0.h1->m1", "m1->logits", "embed->logits"]
    mask = Circuit.of(graph, edges).mask
    facts = {"model": {"name": "m"}, "metric": "kl", "task": {"name": "t", "n_prompts": 50}}
    circuit = Circuit(graph, mask, np.arange(graph.n_edges, dtype=float), None, facts)
    content, notes = export(circuit, tmp_path / "it.json")
    nodes = {node.clerp: node for node in content.nodes}
    assert list(nodes) == ["all tokens", "a0.h1", "m1", 'Output " c" (p=0.250)']
    ids = [node.node_id for node in content.nodes]
    assert ids == ["E_5_0", "0_h1_1", "1_mlp_1", "3_9_1"]
    assert content.qParams.pinnedIds == ids
    assert content.qParams.clickedId == "3_9_1"
    weights = {(link.source, link.target): link.weight for link in content.links}
    scores = {name: float(graph.edge_index(name)) for name in edges}
    assert weights == {
        ("E_5_0", "0_h1_1"): scores["embed->a0.h1<q>"] + scores["embed->a0.h1<v>"],
        ("0_h1_1", "1_mlp_1"): scores["a0.h1->m1"],
        ("1_mlp_1", "3_9_1"): scores["m1->logits"],
        ("E_5_0", "3_9_1"): scores["embed->logits"],
    }
    assert (content.metadata.scan, content.metadata.prompt_tokens) == ("m", ["a", " b"])
    assert content.metadata.prompt == "a b"
    for words in ("no position", "sums the scores of its q, k and v", "over the 50 prompts"):
        assert words in notes


def test_features_have_the_ids_of_circuit_tracer(tmp_path: Path) -> None:
    graph = Graph(2, 1, n_kv_heads=1).refine("m1", features=[7])
    edges = ["embed->a0.kv0<k>", "a0.h0->m1", "m1.f7->logits", "m1.error->logits"]
    content, notes = export(Circuit.of(graph, edges), tmp_path / "it.json")
    nodes = {node.clerp: node for node in content.nodes}
    feature = nodes["m1.f7"]
    assert (feature.node_id, feature.jsNodeId) == ("1_7_1", "1_7-0")
    assert feature.feature == (1 + 7) * (1 + 7 + 1) // 2 + 7
    assert feature.feature_type == "cross layer transcoder"
    assert nodes["m1.error"].node_id == "1_-1_1"
    links = {(link.source, link.target): link.weight for link in content.links}
    assert links["E_5_0", "0_h0_1"] == 1.0  # the head, not its key-value head
    assert {target for source, target in links if source == "0_h0_1"} == {"1_7_1", "1_-1_1"}
    assert "no scores: every edge counts 1" in notes


def test_nothing_and_bad_prompts(tmp_path: Path) -> None:
    graph = Graph(1, 1, direct=True)
    content, notes = export(Circuit.of(graph, ["a0.h0<q>->a0.h0"]), tmp_path / "it.json")
    assert (content.nodes, content.links, content.qParams.clickedId) == ([], [], "")
    assert "Direct q, k and v edges" in notes
    for tokens in ((), ("a",)):
        with pytest.raises(ArgumentError, match=f"A prompt of {len(tokens)} tokens and 2 numbers"):
            export(Circuit.full(graph), tmp_path / "other.json", tokens=tokens)
    with pytest.raises(ArgumentError, match="needs prompt and tokens and token_ids"):
        export_circuit(Circuit.full(graph), tmp_path / "other.json", "neuronpedia")
