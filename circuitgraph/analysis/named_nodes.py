"""Which nodes an analysis is about, by what users call them: single names and groups."""

from __future__ import annotations

from collections.abc import Sequence

from circuitgraph.errors import ArgumentError, unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import ATTENTION_INPUTS, Node, input_name, parse_input
from circuitgraph.models.language_model import LanguageModel

GROUPS = {"heads": "head", "mlps": "mlp"}


def find_writers(graph: Graph, names: Sequence[str]) -> list[int]:
    """The numbers of the writers of these names, each once, in the order given.

    Args:
        names: of nodes; ``heads`` and ``mlps`` stand for all of a kind.

    Raises:
        UnknownNameError: a node that this graph does not have.
        ArgumentError: no name.
    """
    numbers: dict[int, None] = {}
    for name in names:
        kind = GROUPS.get(name.strip().lower())
        of_kind = [i for i, writer in enumerate(graph.writers) if writer.kind == kind]
        numbers |= dict.fromkeys(of_kind or [graph.writer_index(name)])
    if not numbers:
        raise ArgumentError("No node was named: give at least one, as in 'a1.h0', or 'heads'.")
    return list(numbers)


def find_head(model: LanguageModel, name: str) -> Node:
    """The head of that name.

    Raises:
        UnknownNameError: the model has no such node.
        ArgumentError: it is no head.
    """
    node = Node.parse(name)
    if node.kind != "head":
        raise ArgumentError(f"head is {name!r}, which is no head: expected for example 'a0.h1'.")
    model.graph().writer_index(str(node))
    return node


def find_heads(graph: Graph, names: Sequence[str]) -> list[int]:
    """The numbers of heads, each once, in the order given.

    Raises:
        UnknownNameError, ArgumentError: as `find_writers`, and of a node that is no head.
    """
    numbers = find_writers(graph, names)
    others = [graph.writers[i].name for i in numbers if graph.writers[i].kind != "head"]
    if others:
        raise ArgumentError(f"{others[0]!r} is no head: name heads alone, as in 'a1.h0'.")
    return numbers


def find_readers(graph: Graph, names: Sequence[str]) -> list[int]:
    """The numbers of the readers of these names, each once; a head stands for its q, k and v.

    Raises:
        UnknownNameError: a node or an input that this graph does not have.
        ArgumentError: no name.
    """
    numbers: dict[int, None] = {}
    for name in names:
        node, node_input = parse_input(name)
        if node == Node("embed"):
            raise unknown_name("reader", name, [reader.name for reader in graph.readers])
        every = ATTENTION_INPUTS if node.kind == "head" and not node_input else (node_input,)
        numbers |= dict.fromkeys(graph.reader_index(input_name(node, each)) for each in every)
    if not numbers:
        raise ArgumentError("No receiver was named: give at least one, as in 'a2.h1<q>'.")
    return list(numbers)
