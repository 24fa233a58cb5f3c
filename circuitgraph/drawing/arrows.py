"""The arrows of a drawing: edges, those of one layer's heads merged, the weak ones hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Reader


@dataclass(frozen=True)
class Arrow:
    """One arrow: an edge from a writer, or several edges between the same two boxes.

    Attributes:
        source: the box that it leaves. targets: the boxes that are computed from what it enters.
        end: the input of a split MLP, where the arrow ends in place of the parts.
        kind: of the input that it enters, as of `Reader.kind`.
        name: of the edge, or of both boxes.
        n_edges: how many edges it stands for.
        effect: the sum of their effects; None where one of them was not measured.
        strength: the sum of their effects' sizes, infinite where one was not measured.
    """

    source: str
    targets: tuple[str, ...]
    end: str | None
    kind: str
    name: str
    n_edges: int
    effect: float | None
    strength: float


def list_arrows(circuit: Circuit) -> list[Arrow]:
    """An arrow for each kept edge from a writer, in the graph's order."""
    graph = circuit.graph
    dst, src = graph.ends
    arrows = []
    for edge in np.flatnonzero(circuit.mask & (src >= 0)):
        reader, effect = graph.readers[dst[edge]], circuit.effect_of(edge)
        arrows.append(
            Arrow(
                source=graph.writers[src[edge]].name,
                targets=graph.reader_nodes(reader),
                end=_name_end(reader),
                kind=reader.kind,
                name=f"{graph.writers[src[edge]].name}->{reader.name}",
                n_edges=1,
                effect=effect,
                strength=np.inf if effect is None else abs(effect),
            )
        )
    return arrows


def _name_end(reader: Reader) -> str | None:
    return reader.name if reader.feeds_parts else None


def name_groups(circuit: Circuit) -> dict[str, str]:
    """For each head of a circuit the box of its layer; of a layer's only head, itself."""
    layers: dict[int, list[str]] = {}
    drawn = set(circuit.nodes)
    for writer in circuit.graph.writers:
        if writer.node.whole.kind == "head" and writer.name in drawn:
            layers.setdefault(writer.node.layer, []).append(writer.name)
    return {
        name: f"a{layer}" for layer, names in layers.items() for name in names if len(names) > 1
    }


def merge_arrows(arrows: Sequence[Arrow], groups: dict[str, str]) -> list[Arrow]:
    """The arrows between boxes: one for all edges from the same box into the same inputs of one.

    Args:
        groups: the box of each node that shares one.
    """
    bundles: dict[tuple[str, tuple[str, ...], str | None, str], list[Arrow]] = {}
    for arrow in arrows:
        targets = tuple(dict.fromkeys(groups.get(name, name) for name in arrow.targets))
        key = (groups.get(arrow.source, arrow.source), targets, arrow.end, arrow.kind)
        bundles.setdefault(key, []).append(arrow)
    return [_merge_bundle(*key, bundle) for key, bundle in bundles.items()]


def _merge_bundle(
    source: str, targets: tuple[str, ...], end: str | None, kind: str, bundle: list[Arrow]
) -> Arrow:
    effects = [arrow.effect for arrow in bundle if arrow.effect is not None]
    n = len(bundle)
    name = bundle[0].name if n == 1 else f"{source}->{end or ', '.join(targets)}, {n} edges"
    return Arrow(
        source=source,
        targets=targets,
        end=end,
        kind=kind,
        name=name,
        n_edges=n,
        effect=sum(effects) if len(effects) == n else None,
        strength=sum(arrow.strength for arrow in bundle),
    )


def hide_weak(arrows: Sequence[Arrow], share: float, most: int | None) -> list[Arrow]:
    """The arrows that are drawn, in their order; those that were never measured come first.

    Args:
        share: of the strongest arrow's strength, below which an arrow is hidden.
        most: how many of the strongest arrows are drawn at most.
    """
    measured = [arrow.strength for arrow in arrows if np.isfinite(arrow.strength)]
    least = share * max(measured, default=0.0)
    ranked = sorted(range(len(arrows)), key=lambda i: -arrows[i].strength)[:most]
    return [arrows[i] for i in sorted(ranked) if arrows[i].strength >= least]


@dataclass(frozen=True)
class Drawn:
    """What a drawing shows of a circuit.

    Attributes:
        boxes: the nodes of each box, in the order of the forward pass; most boxes hold one.
        n_hidden: edges that have no arrow.
    """

    circuit: Circuit
    arrows: list[Arrow]
    boxes: dict[str, list[str]]
    n_hidden: int


def choose_drawn(circuit: Circuit, by_layer: bool, share: float, most: int | None) -> Drawn:
    """The arrows of a drawing and the boxes between which they lie; all nodes if nothing is hidden.

    Args:
        by_layer: the heads of a layer share a box.
        share, most: as of `hide_weak`.
    """
    groups = name_groups(circuit) if by_layer else {}
    arrows = list_arrows(circuit)
    merged = merge_arrows(arrows, groups) if by_layer else arrows
    shown = hide_weak(merged, share, most)
    ends = {name for arrow in shown for name in (arrow.source, *arrow.targets)}
    boxes: dict[str, list[str]] = {}
    for node in circuit.nodes:
        box = groups.get(node, node)
        if box in ends or len(shown) == len(merged):
            boxes.setdefault(box, []).append(node)
    n_shown = sum(arrow.n_edges for arrow in shown)
    return Drawn(circuit, shown, boxes, len(arrows) - n_shown)
