"""Pools of random prompts, and random trees of claims, for the engine and for the oracle alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.node import Node
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, load_double, random_prompts
from tests.oracle.tree import Claim, Prompt, TreeOracle
from tests.oracle.units import FeatureParts

ROLES = ("A", "B", "C")


def head_at(layer: int, index: int, *roles: str) -> Site:
    """One head; as a type, too, one and not several."""
    return Site(Node("head", layer, index), roles)


def neuron_at(layer: int, index: int, *roles: str) -> Site:
    """One neuron."""
    return Site(Node("neuron", layer, index), roles)


@dataclass
class Case:
    """The same random prompts for the engine and the oracle. Roles may share a position, in some
    prompts only.
    """

    tiny: Tiny
    prompts: Prompts
    role_positions: np.ndarray
    pool: Activations

    @classmethod
    def of(cls, tiny: Tiny, n: int = 6, longest: int = 9, **padding: int) -> Case:
        prompts = random_prompts(batch=n, longest=longest)
        role_positions = np.random.default_rng(0).integers(0, 10**6, (n, len(ROLES))) % (
            prompts.score_at[:, None] + 1
        )
        role_positions[1, 1], role_positions[2, 0] = role_positions[1, 0], prompts.score_at[2]
        return cls(
            tiny,
            prompts,
            role_positions,
            Activations(tiny.ours, prompts, role_positions, ROLES, launch=8, **padding),
        )

    def oracle(self, dictionaries: Mapping[int, FeatureParts] | None = None) -> TreeOracle:
        model = load_double(self.tiny.folder)
        rows = zip(self.prompts.clean, self.prompts.mask, self.role_positions, strict=True)
        prompts = [
            Prompt(tokens[real].tolist(), dict(zip(ROLES, map(int, at), strict=True)))
            for tokens, real, at in rows
        ]
        return TreeOracle(model.eval(), prompts, dictionaries)


@dataclass
class Growth:
    """Random trees of a graph."""

    graph: Graph
    rng: np.random.Generator
    neurons: int = 0
    separate: bool = False

    def tree(self) -> TreeNode:
        return TreeNode(
            ("logits",),
            "",
            Site(Node("logits")),
            children=self.children(Site(Node("logits")), ("logits",)),
        )

    def children(self, site: Site, path: Path) -> tuple[TreeNode, ...]:
        nodes = []
        for feeds in site.inputs:
            sites = {
                self.site(self.stage(site)) for _ in range(self.rng.integers(len(path) == 1, 3))
            }
            whole = {str(child.node) for child in sites}
            for child in sorted(sites, key=str):
                if child.kind == "neuron" and f"m{child.layer}" in whole:
                    continue
                own = (*path, f"{child}<{feeds}>")
                inner = self.children(child, own) if len(path) < 3 else ()
                nodes.append(TreeNode(own, "", child, feeds, inner))
        return tuple(nodes)

    def stage(self, site: Site) -> int:
        kind = "head" if site.is_of_head else site.kind
        node = {"head": f"{site.node.whole}<q>", "logits": "logits"}.get(kind, f"m{site.layer}")
        return self.graph.readers[self.graph.reader_index(node)].stage

    def site(self, stage: int) -> Site:
        legal = [w for w in self.graph.writers if w.stage <= stage]
        writer = legal[self.rng.integers(len(legal))]
        roles = tuple(r for r in ROLES if self.rng.random() < 0.4)
        if writer.kind == "mlp" and self.neurons and self.rng.random() < 0.5:
            return Site(
                Node("neuron", writer.node.layer, int(self.rng.integers(self.neurons))), roles
            )
        return Site(writer.node, roles)

    def inputs(self, root: TreeNode, n: int, pool: int) -> dict[Path, Any]:
        return {node.path: self.donors(node, n, pool) for node in root.walk()}

    def donors(self, node: TreeNode, n: int, pool: int) -> Any:
        if not self.separate or not node.children:
            return self.rng.integers(0, pool, n)
        writers = [w.name for w in self.graph.writers if w.stage <= self.stage(node.site)]
        return {
            (into, w): self.rng.integers(0, pool, n) for into in node.site.inputs for w in writers
        }


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What XLA compiles meanwhile."""
    compiled: list[str] = []
    open_ = [True]

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if open_[0] and event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield compiled
    open_[0] = False  # listeners stay


def claim(node: TreeNode, inputs: dict[Path, Any], i: int) -> Claim:
    """One reference's tree, as the oracle reads it."""
    given = inputs[node.path]
    donors = (
        {edge: int(rows[i]) for edge, rows in given.items()}
        if isinstance(given, dict)
        else int(given[i])
    )
    return Claim(
        str(node.site.node),
        node.site.roles,
        node.feeds,
        donors,
        [claim(c, inputs, i) for c in node.children],
    )


def readings(logits: torch.Tensor, prompts: Prompts, reference: int) -> tuple[float, int]:
    """Log-probability of the reference's answer, and the top token."""
    return float(logits.log_softmax(-1)[int(np.asarray(prompts.answer)[reference])]), int(
        logits.argmax()
    )
