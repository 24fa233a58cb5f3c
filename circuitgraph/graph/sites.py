"""Sites: places in a model that a hypothesis can speak of, ``head(0, 3) @ "B1"``.

A site is a node of the graph (or a neuron or dictionary feature inside an MLP) at named positions
of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from circuitgraph.graph.names import head_name, mlp_name

Kind = Literal["embed", "head", "mlp", "neuron", "feature", "logits"]
ATTENTION_INPUTS = ("q", "k", "v")
STREAM = "x"  # the one input of what is no head: the stream at the site's own positions


@dataclass(frozen=True)
class Site:
    """A node at some roles of the prompt; at every position if ``roles`` is empty.

    Attributes:
        layer: -1 for the embedding and the logits.
        index: of the head, neuron or feature in its layer; -1 for others.
        roles: names of positions, as the task gives them.
    """

    kind: Kind
    layer: int = -1
    index: int = -1
    roles: tuple[str, ...] = ()

    def __matmul__(self, role: str | Iterable[str]) -> Site:
        """The same node at this role, or at these."""
        roles = (role,) if isinstance(role, str) else tuple(role)
        if not roles or not all(isinstance(name, str) for name in roles):
            raise TypeError(f"a site stands @ a role or several, each a string, not {role!r}")
        return replace(self, roles=roles)

    @property
    def node(self) -> str:
        """The node's name in the graph: ``a0.h3``, ``m1``, ``m1.n7``, ``m1.f20``, ``embed``,
        ``logits``.
        """
        names = {
            "head": head_name(self.layer, self.index),
            "mlp": mlp_name(self.layer),
            "neuron": f"{mlp_name(self.layer)}.n{self.index}",
            "feature": f"{mlp_name(self.layer)}.f{self.index}",
        }
        return names.get(self.kind, self.kind)

    @property
    def writer(self) -> str:
        """The graph's writer that the site is, or, for a neuron or feature, is part of."""
        return mlp_name(self.layer) if self.kind in ("neuron", "feature") else self.node

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the node reads: ``q``, ``k``, ``v``, or the stream (``x``); nothing for the
        embedding.
        """
        if self.kind == "head":
            return ATTENTION_INPUTS
        return () if self.kind == "embed" else (STREAM,)

    def __str__(self) -> str:
        return f"{self.node}@{'+'.join(self.roles)}" if self.roles else self.node


class Sites(tuple[Site, ...]):
    """Several sites at once; ``@`` goes to each."""

    __slots__ = ()

    def __matmul__(self, role: str | Iterable[str]) -> Sites:
        return Sites(site @ role for site in self)


embed = Site("embed")
logits = Site("logits")


def head(layer: int, head: int | Iterable[int]) -> Site | Sites:
    """What head number ``head`` of a layer writes; or each of several heads."""
    return _each("head", layer, head)


def mlp(layer: int) -> Site:
    """What the MLP of a layer writes."""
    return Site("mlp", _number("layer", layer))


def neuron(layer: int, neuron: int | Iterable[int]) -> Site | Sites:
    """What one hidden neuron of an MLP writes: its activation times its row of the output weights;
    or several.
    """
    return _each("neuron", layer, neuron)


def feature(layer: int, feature: int | Iterable[int]) -> Site | Sites:
    """What one dictionary feature of an MLP writes; or several."""
    return _each("feature", layer, feature)


def _each(kind: Kind, layer: int, index: int | Iterable[int]) -> Site | Sites:
    layer = _number("layer", layer)
    if isinstance(index, int):
        return Site(kind, layer, _number(kind, index))
    return Sites(Site(kind, layer, _number(kind, i)) for i in index)


def _number(what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"a {what} is given by its number, 0 or more, not {value!r}")
    return value
