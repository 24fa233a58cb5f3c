"""Sites: places in a model that a hypothesis can speak of, ``head(0, 3) @ "B1"``.

A site is a node (also a neuron or dictionary feature of an MLP, or what a head fetches from one
position) at named positions of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from circuitgraph.errors import ArgumentError, UnknownNameError
from circuitgraph.graph.head_split import check_sources
from circuitgraph.graph.node import Input, Kind, Node, parse_input


@dataclass(frozen=True)
class Site:
    """A node at some roles of the prompt; at every position if ``roles`` is empty.

    Attributes:
        roles: names of positions, as the task gives them.
    """

    node: Node
    roles: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Site:
        """The site of a name such as ``a0.h3@B1``, ``a0.h3[A1]@B1``, ``m1.n7@A+B`` or ``embed``.

        Raises:
            UnknownNameError: no site has that name.
        """
        name, at, roles = text.partition("@")
        role_names = tuple(roles.split("+")) if at else ()
        if not all(role_names):
            raise UnknownNameError(
                f"{text!r} names no role after its '@'. Expected for example 'a0.h3@B1'."
            )
        node, head_input = parse_input(name)
        if head_input:
            raise UnknownNameError(
                f"{text!r} is an input of a node, not a site. Expected for example 'a0.h3@B1'."
            )
        return cls(node, role_names)

    def __matmul__(self, role: str | Iterable[str]) -> Site:
        """The same node at this role, or at these."""
        roles = (role,) if isinstance(role, str) else tuple(role)
        if not roles or not all(isinstance(name, str) for name in roles):
            raise TypeError(f"a site stands @ a role or several, each a string, not {role!r}")
        return replace(self, roles=roles)

    def fetched_from(self, source: str) -> Site:
        """What a head fetches from one position alone: attention times value times output weights.

        Args:
            source: the name of a role, or the number of a position from the first token.

        Raises:
            ArgumentError: not a head, or a name that cannot be a source's.
        """
        if self.kind != "head":
            raise ArgumentError(f"{self} fetches nothing: only whole heads do, as head(0, 3).")
        check_sources(self.node, [source])
        return replace(self, node=replace(self.node, kind="source", source=source))

    @property
    def is_of_head(self) -> bool:
        """Whether the node is a head or a part of one."""
        return self.node.whole.kind == "head"

    @property
    def kind(self) -> Kind:
        """The node's kind."""
        return self.node.kind

    @property
    def layer(self) -> int:
        """The node's layer; -1 for the embedding and the logits."""
        return self.node.layer

    @property
    def index(self) -> int:
        """The node's number in its layer; -1 where it has none."""
        return self.node.index

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the node reads: ``q``, ``k``, ``v``, or the stream (``x``)."""
        return self.node.inputs

    def __str__(self) -> str:
        return f"{self.node}@{'+'.join(self.roles)}" if self.roles else str(self.node)


class Sites(tuple[Site, ...]):
    """Several sites at once; ``@`` and `Site.fetched_from` go to each."""

    __slots__ = ()

    def __matmul__(self, role: str | Iterable[str]) -> Sites:
        return Sites(site @ role for site in self)

    def fetched_from(self, source: str) -> Sites:
        """What each of several heads fetches from one position alone; as `Site.fetched_from`."""
        return Sites(site.fetched_from(source) for site in self)


embed = Site(Node("embed"))
logits = Site(Node("logits"))


def head(layer: int, head: int | Iterable[int]) -> Site | Sites:
    """What head number ``head`` of a layer writes; or each of several heads."""
    return _site_or_sites("head", layer, head)


def mlp(layer: int) -> Site:
    """What the MLP of a layer writes."""
    return Site(Node("mlp", _check_number("layer", layer)))


def neuron(layer: int, neuron: int | Iterable[int]) -> Site | Sites:
    """What one hidden neuron of an MLP writes; or each of several neurons.

    That is its activation times its row of the output weights.
    """
    return _site_or_sites("neuron", layer, neuron)


def feature(layer: int, feature: int | Iterable[int]) -> Site | Sites:
    """What one dictionary feature of an MLP writes; or each of several features."""
    return _site_or_sites("feature", layer, feature)


def _site_or_sites(kind: Kind, layer: int, index: int | Iterable[int]) -> Site | Sites:
    layer = _check_number("layer", layer)
    if isinstance(index, int):
        return Site(Node(kind, layer, _check_number(kind, index)))
    return Sites(Site(Node(kind, layer, _check_number(kind, i))) for i in index)


def _check_number(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"a {what} is given by its number, 0 or more, not {value!r}")
    return value
