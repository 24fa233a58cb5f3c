"""Names and aliases: every form of every node of a graph leads back to it, and what does not exist
is explained.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.errors import GraphError, UnknownNameError
from circuitgraph.graph.graph import Graph, Reader, Writer
from circuitgraph.graph.node import canonical_edge, canonical_node
from tests.graph.strategies import graphs

GRAPH = Graph(12, 12)


def writer_forms(writer: Writer) -> list[str]:
    """The names of papers, EAP-IG and TransformerLens."""
    layer, head = writer.node.layer, writer.node.index
    if writer.kind == "embed":
        return ["embed", "input", "hook_embed", "blocks.0.hook_resid_pre", "Embed"]
    if writer.kind == "mlp":
        return [
            f"m{layer}",
            f"MLP{layer}",
            f"mlp {layer}",
            f"mlp_{layer}",
            f"blocks.{layer}.hook_mlp_out",
        ]
    return [
        f"a{layer}.h{head}",
        f"L{layer}H{head}",
        f"{layer}.{head}",
        f"A{layer}.H{head}",
        f" a{layer}.h{head} ",
        f"blocks.{layer}.attn.hook_result[{head}]",
        f"blocks.{layer}.attn.hook_result[:, :, {head}]",
        f"blocks.{layer}.attn.hook_result.{head}",
        f"blocks.{layer}.attn.hook_z[{head}]",
    ]


def reader_forms(reader: Reader) -> list[str]:
    layer, head, kind = reader.node.layer, reader.node.index, reader.kind
    if kind == "logits":
        return ["logits", "output", "resid_post"]
    if kind == "mlp":
        return [f"m{layer}", f"MLP {layer}", f"blocks.{layer}.hook_mlp_in"]
    if ".kv" in reader.name:
        return [reader.name, reader.name.upper()]
    return [
        f"a{layer}.h{head}<{kind}>",
        f"L{layer}H{head}<{kind}>",
        f"{layer}.{head}<{kind}>",
        f"{layer}.{head}.{kind}",
        f"A{layer}.H{head}<{kind.upper()}>",
        f"blocks.{layer}.hook_{kind}_input[{head}]",
        f"blocks.{layer}.hook_{kind}_input[:, :, {head}]",
        f"blocks.{layer}.hook_{kind}_input.{head}",
    ]


@settings(max_examples=12)
@given(graphs(layers=13, heads=12))
def test_every_form_of_every_node_leads_back_to_it(graph: Graph) -> None:
    """More than ten layers and heads, so that no form may read one digit only."""
    for index, writer in enumerate(graph.writers):
        assert {graph.writer_index(form) for form in writer_forms(writer)} == {index}
    for index, reader in enumerate(graph.readers):
        assert {graph.reader_index(form) for form in reader_forms(reader)} == {index}


@given(graphs(), st.data())
def test_every_form_of_an_edge_leads_back_to_it(graph: Graph, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, graph.n_edges - 1))
    d, s = graph.ends[0][index], graph.ends[1][index]
    reader = graph.readers[d]
    if s >= 0:
        forms = [f"{w}->{r}" for w in writer_forms(graph.writers[s]) for r in reader_forms(reader)]
    else:
        forms = [
            f"{r} -> {w}"
            for r in reader_forms(reader)
            for w in writer_forms(graph.writers[reader.feeds[0]])
        ]
    assert {graph.edge_index(form) for form in [*forms, graph.edges[index]]} == {index}


@given(graphs())
def test_canonical_names_stay_as_they_are(graph: Graph) -> None:
    for name in [w.name for w in graph.writers] + [r.name for r in graph.readers]:
        assert canonical_node(name) == name
    for name in graph.edges:
        assert canonical_edge(name) == name


@pytest.mark.parametrize(
    "text",
    ["", "head", "a5", "a5.h", "a.h1", "5", "5.1.2", "a5.h1<x>", "L5", "m", "a-1.h0", "m3<q>"],
)
def test_what_is_no_name_is_told_what_names_look_like(text: str) -> None:
    with pytest.raises(UnknownNameError, match="is not the name of a node") as e:
        canonical_node(text)
    assert str(e.value).startswith(
        f"{text!r} is not the name of a node. Expected for example 'embed', 'a5.h1'"
    )


@pytest.mark.parametrize("text", ["embed", "embed->m0->logits", "embed=>m0", ""])
def test_what_is_no_edge_is_told_what_edges_look_like(text: str) -> None:
    with pytest.raises(
        UnknownNameError,
        match=re.escape("is not the name of an edge. Expected for example 'a5.h1->"),
    ):
        canonical_edge(text)


@pytest.mark.parametrize(
    ("given_name", "kind", "nearest"),
    [("a12.h1", "writer", "a1.h1"), ("m12", "writer", "m1"), ("a5.h12<q>", "reader", "a5.h1<q>")],
)
def test_names_that_this_graph_lacks_suggest_the_nearest(
    given_name: str, kind: str, nearest: str
) -> None:
    look_up = GRAPH.writer_index if kind == "writer" else GRAPH.reader_index
    with pytest.raises(UnknownNameError) as e:
        look_up(given_name)
    assert f"Unknown {kind} {given_name!r}. Did you mean " in str(e.value)
    assert repr(nearest) in str(e.value)


def test_unknown_ends_of_an_edge_are_named() -> None:
    with pytest.raises(
        UnknownNameError, match=re.escape("Unknown reader 'a7.h12<q>'. Did you mean")
    ):
        GRAPH.edge_index("a5.h1->a7.h12<q>")
    with pytest.raises(UnknownNameError, match="Unknown writer 'logits'"):
        GRAPH.edge_index("logits->m3")
    with pytest.raises(
        UnknownNameError, match=re.escape("Unknown reader 'a5.h1'. Did you mean 'a5.h1<")
    ):
        GRAPH.edge_index("embed->a5.h1")  # whole heads do not read: q, k or v must be said


@pytest.mark.parametrize(
    ("edge", "reader", "writer"),
    [
        ("a5.h1->a5.h3<q>", "a5.h3<q>", "a5.h1"),
        ("m5->m5", "m5", "m5"),
        ("L7H1->5.3<k>", "a5.h3<k>", "a7.h1"),
        ("m3->m2", "m2", "m3"),
    ],
)
def test_illegal_edges_say_why(edge: str, reader: str, writer: str) -> None:
    with pytest.raises(
        GraphError, match=re.escape(f"is not an edge: {reader} does not come after {writer}.")
    ):
        GRAPH.edge_index(edge)


def test_direct_edges_exist_in_their_own_convention_only() -> None:
    direct = Graph(12, 12, direct=True)
    assert direct.edges[direct.edge_index("L5H1<v>->5.1")] == "a5.h1<v>->a5.h1"
    assert direct.edge_index("a0.h0<q>->a0.h0") == GRAPH.n_edges
    with pytest.raises(UnknownNameError, match=r"Unknown writer 'a5\.h1<v>'"):
        GRAPH.edge_index("a5.h1<v>->a5.h1")
    with pytest.raises(UnknownNameError, match=r"Unknown writer 'a5\.h1<v>'"):
        direct.edge_index("a5.h1<v>->a5.h2")  # not its own head
