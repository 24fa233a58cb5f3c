"""Nodes of a model's graph and their names: one grammar for graphs, sites and records.

Canonical names: ``embed``, ``a5.h1`` (head 1 of layer 5), ``m3`` (MLP 3), ``logits``; the parts of
a split MLP ``m3.n117`` (hidden neuron), ``m3.f2098`` (dictionary feature), ``m3.rest``,
``m3.error``; of a split head ``a5.h1[IO]`` (what it fetches at the position of the role ``IO``) and
``a5.h1[rest]``; a key-value head that is one reader for a group of heads ``a5.kv1``. A head reads
through three inputs, ``a5.h1<q>``, ``<k>``, ``<v>``; everything else has one. An edge is
``a5.h1->a7.h3<q>``.

Names of papers and other tools are understood: ``L5H1`` and ``5.1`` (papers), ``input`` (EAP-IG),
``Resid Start``, ``A5.1``, ``A7.3.Q``, ``MLP 3`` (auto-circuit), ``blocks.5.attn.hook_result[1]``,
``blocks.7.hook_q_input[3]``, ``blocks.3.hook_mlp_out`` ... (TransformerLens).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from circuitgraph.errors import UnknownNameError
from circuitgraph.printable import NAME, shorten_text

Kind = Literal[
    "embed", "head", "source", "kv", "mlp", "neuron", "feature", "rest", "error", "logits"
]
Input = Literal["q", "k", "v", "x"]

ARROW = "->"
ATTENTION_INPUTS: tuple[Input, ...] = ("q", "k", "v")
STREAM: Input = "x"  # the one input of what is no head: the residual stream
UNITS = ("neuron", "feature")  # parts of a split MLP that write a number times a row
PARTS = (*UNITS, "rest", "error")  # of a split MLP
REST = "rest"  # the source of a split head that stands for all positions without a name

# within one layer
_ORDER: tuple[Kind, ...] = ("embed", "head", "source", "kv", "mlp", *PARTS, "logits")
_FORMATS: dict[Kind, str] = {
    "embed": "embed",
    "head": "a{layer}.h{index}",
    "source": "a{layer}.h{index}[{source}]",
    "kv": "a{layer}.kv{index}",
    "mlp": "m{layer}",
    "neuron": "m{layer}.n{index}",
    "feature": "m{layer}.f{index}",
    "rest": "m{layer}.rest",
    "error": "m{layer}.error",
    "logits": "logits",
}
_INPUT = r"(?:<(?P<input>[qkv])>|[._](?P<input_dot>[qkv]))?"
_INDEX = r"(?:\[(?:[:,\s]*)(?P<index>\d+)\]|\.(?P<index_dot>\d+))"
_LAYER = r"(?P<layer>\d+)"
_FORMS: list[tuple[Kind, str]] = [
    ("embed", r"embed|input|embeds|hook_embed|blocks\.0\.hook_resid_pre|resid start"),
    ("logits", r"logits|output|resid_post|unembed|resid end"),
    ("head", rf"a{_LAYER}\.h(?P<index>\d+){_INPUT}"),
    ("head", rf"l{_LAYER}\.?h(?P<index>\d+){_INPUT}"),
    ("head", rf"a?{_LAYER}\.(?P<index>\d+){_INPUT}"),
    ("head", rf"blocks\.{_LAYER}\.attn\.hook_(?:result|z){_INDEX}"),
    ("head", rf"blocks\.{_LAYER}\.hook_(?P<input>[qkv])_input{_INDEX}"),
    ("kv", rf"a{_LAYER}\.kv(?P<index>\d+)<(?P<input>[kv])>"),
    ("mlp", rf"m{_LAYER}"),
    ("mlp", rf"mlp[ _.]?{_LAYER}"),
    ("mlp", rf"blocks\.{_LAYER}\.hook_mlp_(?:in|out)"),
    ("neuron", rf"m{_LAYER}\.n(?P<index>\d+)"),
    ("feature", rf"m{_LAYER}\.f(?P<index>\d+)"),
    ("rest", rf"m{_LAYER}\.rest"),
    ("error", rf"m{_LAYER}\.error"),
]


@dataclass(frozen=True, slots=True)
class Node:
    """A head, an MLP, a part of one of them, the embedding, or the logits.

    Nodes are ordered as the forward pass runs them, the parts of an MLP in the order of `PARTS`.

    Attributes:
        layer: -1 for the embedding and the logits.
        index: of the head, key-value head, neuron or feature in its layer; -1 for others.
        source: of a part of a head, where the head fetches it: the name of a role, a position, or
            ``rest``; empty for all other nodes.
    """

    kind: Kind
    layer: int = -1
    index: int = -1
    source: str = ""

    @classmethod
    def parse(cls, text: str) -> Node:
        """The node of a name in any known form.

        Raises:
            UnknownNameError: the text has none of the known forms, or names one input of a head.
                Whether the node exists in a given graph is for the graph to say.
        """
        node, head_input = parse_input(text)
        if head_input:
            raise UnknownNameError(f"{text!r} is an input of a node, not a node.")
        return node

    @property
    def is_in_mlp(self) -> bool:
        """Whether the node is an MLP or a part of one."""
        return self.kind == "mlp" or self.kind in PARTS

    @property
    def whole(self) -> Node:
        """The MLP or head that a part belongs to; every other node is whole itself."""
        if self.kind == "source":
            return Node("head", self.layer, self.index)
        return Node("mlp", self.layer) if self.kind in PARTS else self

    @property
    def is_rest(self) -> bool:
        """Whether the node is what no named part of a split MLP or head writes."""
        return self.kind == "rest" or self.source == REST

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the node reads: ``q``, ``k`` and ``v``, or the stream; nothing for the embedding."""
        if self.kind in ("head", "source"):
            return ATTENTION_INPUTS
        return () if self.kind == "embed" else (STREAM,)

    def __str__(self) -> str:
        return _FORMATS[self.kind].format(layer=self.layer, index=self.index, source=self.source)

    def __lt__(self, other: Node) -> bool:
        return self._sort_key < other._sort_key

    @property
    def _sort_key(self) -> tuple[Any, ...]:
        in_order = _ORDER.index(self.kind)
        place = self.kind == "logits", self.layer, self.is_in_mlp
        if self.kind == "source":  # beside the heads, where its own head would stand
            return *place, _ORDER.index("head"), self.index, self.is_rest, self.source
        return *place, in_order, self.index


@lru_cache(maxsize=4096)  # the same few names are looked up in every launch
def parse_input(text: str) -> tuple[Node, str]:
    """The node of a name, and the input that the name ends with: ``q``, ``k``, ``v``, or nothing.

    Raises:
        UnknownNameError: the text has none of the known forms.
    """
    if len(text) > NAME:
        raise UnknownNameError(f"{shorten_text(text, NAME)!r} is too long for the name of a node.")
    name = text.strip().lower()
    for kind, form in _FORMS:
        if match := re.fullmatch(form, name):
            parts = match.groupdict()
            layer, index = parts.get("layer"), parts.get("index") or parts.get("index_dot")
            node = Node(kind, int(layer or -1), int(index or -1))
            return node, parts.get("input") or parts.get("input_dot") or ""
    if match := re.fullmatch(r"(.+)\[([^\[\]]+)\]", text.strip()):
        whole, head_input = parse_input(match[1])
        if whole.kind == "head" and not head_input:
            return Node("source", whole.layer, whole.index, match[2]), ""
    raise UnknownNameError(
        f"{text!r} is not the name of a node. Expected for example 'embed', 'a5.h1' (or 'L5H1', "
        "'5.1'), 'a5.h1<q>', 'm3' or 'logits'."
    )


def input_name(node: Node, node_input: str) -> str:
    """``a5.h1<q>`` for an input of a head; the node's own name where it has one input only."""
    return f"{node}<{node_input}>" if node_input in ATTENTION_INPUTS else str(node)


def edge_name(writer: str, reader: str) -> str:
    """``a5.h1->a7.h3<q>``."""
    return f"{writer}{ARROW}{reader}"


def canonical_node(text: str) -> str:
    """The canonical name of a writer or reader given in any known form.

    Raises:
        UnknownNameError: as `parse_input`.
    """
    return input_name(*parse_input(text))


def canonical_edge(text: str) -> str:
    """The canonical name of an edge given as ``writer->reader``, each in any known form.

    Raises:
        UnknownNameError: no arrow, or an end that is not a node's name.
    """
    ends = text.split(ARROW)
    if len(ends) != 2:
        raise UnknownNameError(
            f"{text!r} is not the name of an edge. Expected for example 'a5.h1->a7.h3<q>'."
        )
    return edge_name(canonical_node(ends[0]), canonical_node(ends[1]))
