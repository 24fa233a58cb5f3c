"""Donors for a tree of claims: the recursive resampling of causal scrubbing, on the numbers of
prompts alone.

The algorithm is that of Chan et al. (2022, "Causal scrubbing"). The root's datum is the reference.
A child's datum,
its donor, agrees with its PARENT's datum on the child's variable, and is drawn uniformly and with
replacement from
all prompts of the pool that do (the parent's own datum among them). What no claim covers at a node
with children is
computed on one more prompt, drawn without condition.

Every random number is a function of the seed, the node's path and the reference's number in the
pool. So neither the
order of the references nor the names of a variable's values can change a draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Int

from circuitgraph.errors import ArgumentError, HypothesisError, check_choice
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import Path, TreeNode
from circuitgraph.hypotheses.language import UNCLAIMED, Unclaimed

Indices = Int[np.ndarray, " n"]
Mode = Literal["equal", "free", "exact"] | Indices
"""How a node's datum is chosen: among those equal on its variable, among all, as its parent's, or
as given.
"""

Edge = tuple[str, str]
"""An input of a site and a writer that feeds it, such as ``("k", "a0.h1")``."""

Inputs = Mapping[Path, Indices | Mapping[Edge, Indices]]


@dataclass(frozen=True)
class Classes:
    """The prompts of a pool, grouped by a variable's value.

    Attributes:
        codes: one number for each prompt; prompts with equal numbers have equal values.
    """

    codes: Indices

    @cached_property
    def numbers(self) -> Indices:
        """For each prompt the number of its class, from 0."""
        return np.unique(self.codes, return_inverse=True)[1].reshape(-1)

    @cached_property
    def sizes(self) -> Indices:
        """How many prompts each class has."""
        return np.bincount(self.numbers)

    @cached_property
    def members(self) -> Indices:
        """The prompts, class by class, each class in the pool's order."""
        return np.argsort(self.numbers, kind="stable")

    @cached_property
    def starts(self) -> Indices:
        """Where each class begins among the members."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def singletons(self) -> int:
        """How many prompts are alone with their value, so that they can only be their own donors."""
        return int((self.sizes == 1).sum())

    @property
    def effective_donors(self) -> float:
        """The exponential of the entropy of the prompt given the value: 1 if each prompt is its
        only donor.

        It is the geometric mean, over prompts, of the number of prompts that have the same value.
        """
        return float(np.exp((self.sizes * np.log(self.sizes)).sum() / len(self.codes)))

    def draw(self, like: Indices, uniform: np.ndarray) -> Indices:
        """For each prompt one of its class: that which a number from [0, 1) points at."""
        found = self.numbers[like]
        return self.members[self.starts[found] + (uniform * self.sizes[found]).astype(np.int64)]

    def within(self, other: Indices) -> Classes:
        """Classes of prompts that agree in another number as well."""
        return Classes(
            np.unique(np.stack([self.numbers, other]), axis=1, return_inverse=True)[1].reshape(-1)
        )


@dataclass(frozen=True)
class Donors:
    """What was drawn for a tree, for each reference.

    Attributes:
        datum: each node's own prompt: that of the reference for the root, the donor for others.
        inputs: what `circuitgraph.engine.tree.run.run_tree` wants: a leaf's datum; for a node with
            children the prompt, or prompts, on which all that its children do not cover is
            computed.
    """

    datum: Mapping[Path, Indices]
    inputs: Inputs

    def interned(self, known: dict[bytes, Indices]) -> Donors:
        """The same, with arrays that are known in place of equal ones; the others are known from
        then on.
        """

        def one(found: Indices) -> Indices:
            return known.setdefault(
                hashlib.blake2b(found.tobytes(), digest_size=16).digest(), found
            )

        inputs = {
            path: one(given)
            if isinstance(given, np.ndarray)
            else {edge: one(found) for edge, found in given.items()}
            for path, given in self.inputs.items()
        }
        return Donors({path: one(found) for path, found in self.datum.items()}, inputs)

    def each(self) -> Iterable[Indices]:
        """All arrays of prompts that feed the model."""
        for found in self.inputs.values():
            yield from [found] if isinstance(found, np.ndarray) else found.values()


@dataclass(frozen=True)
class Sampler:
    """Draws donors from a pool of prompts.

    Attributes:
        codes: for each variable, its class on each prompt of the pool.
        unclaimed: how the inputs that no claim covers are drawn; see
            `circuitgraph.hypotheses.Hypothesis`.
        layouts: if given, donors are only drawn among prompts of the same number here as the
            reference.
        edges: for a site all its inputs and writers; needed for ``separate`` alone.
        known: classes of variables, kept once they are found.
    """

    codes: Mapping[str, Indices]
    seed: int = 0
    unclaimed: Unclaimed = "joint"
    layouts: Indices | None = None
    edges: Callable[[Site], Sequence[Edge]] | None = None
    known: dict[str, Classes] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("unclaimed", self.unclaimed, UNCLAIMED)
        if self.unclaimed == "separate" and self.edges is None:
            raise ArgumentError("unclaimed='separate' needs the edges of every site.")

    def __len__(self) -> int:
        """The pool's number of prompts."""
        return len(next(iter(self.codes.values())))

    def classes(self, variable: str) -> Classes:
        """The pool by a variable's value (and by layout, if that must agree).

        Raises:
            HypothesisError: no two prompts have the same value, so that nothing could be exchanged.
        """
        if variable not in self.known:
            found = Classes(self.codes[variable])
            alone = found.singletons == len(self)
            found = found if self.layouts is None else found.within(self.layouts)
            if len(self) > 1 and found.singletons == len(self):
                raise HypothesisError(_no_donors(variable, len(self), alone))
            self.known[variable] = found
        return self.known[variable]

    def draw(
        self,
        root: TreeNode,
        references: Indices,
        *,
        modes: Mapping[Path, Mode] | None = None,
        keep: Iterable[Path] = (),
    ) -> Donors:
        """Donors for every node of a tree.

        Args:
            references: numbers of prompts of the pool.
            modes: for nodes that are not to be ``equal`` (the root: ``exact``). Nodes of one tie
                have the same.
            keep: nodes whose unclaimed inputs stay on their own datum.

        Raises:
            ArgumentError: a path that the tree does not have, or a prompt that the pool does not
                have.
            HypothesisError: a variable of the tree has no two prompts of the same value.
        """
        asked: dict[Path, Mode] = {**(modes or {})}
        kept = set(keep)
        unknown = (set(asked) | kept) - {node.path for node in root.walk()}
        if unknown:
            raise ArgumentError(f"The tree has no node {' > '.join(unknown.pop())!r}.")
        references = self._indices("references", references)
        datum, inputs = {}, {}
        work: list[tuple[TreeNode, Indices, Mode]] = [(root, references, "exact")]
        while work:
            node, parent, default = work.pop()
            datum[node.path] = own = self._datum(
                node, parent, references, asked.get(node.path, default)
            )
            inputs[node.path] = (
                own if not node.children else self._others(node, own, references, node.path in kept)
            )
            work.extend((child, own, "equal") for child in node.children)
        return Donors(datum, inputs)

    def _datum(self, node: TreeNode, parent: Indices, references: Indices, mode: Mode) -> Indices:
        if not isinstance(mode, str):
            return self._indices(f"donors of {node.name}", mode)
        if mode == "exact":
            return parent
        uniform = self._uniform("datum", *(node.tie or node.path))[references]
        return (self.classes(node.variable) if mode == "equal" else self._all).draw(parent, uniform)

    def _others(
        self, node: TreeNode, own: Indices, references: Indices, kept: bool
    ) -> Indices | dict[Edge, Indices]:
        """The prompts for what the children of a node do not cover."""
        if kept or self.unclaimed == "keep":
            return own
        if self.unclaimed == "separate" and self.edges is not None:
            return {
                edge: self._free(references, *node.path, *edge) for edge in self.edges(node.site)
            }
        return self._free(references, *([] if self.unclaimed == "everywhere" else node.path))

    def _free(self, references: Indices, *key: str) -> Indices:
        return self._all.draw(references, self._uniform("unclaimed", *key)[references])

    @cached_property
    def _all(self) -> Classes:
        """The pool as one class, or as one for each layout."""
        return Classes(np.zeros(len(self), np.int64) if self.layouts is None else self.layouts)

    def _uniform(self, *key: str) -> np.ndarray:
        """One number in [0, 1) for each prompt of the pool, the same for the same seed and key."""
        return generator(self.seed, *key).random(len(self))

    def _indices(self, what: str, given: Indices) -> Indices:
        found = np.asarray(given, np.int64)
        if found.size and not (found.min() >= 0 and found.max() < len(self)):
            raise ArgumentError(
                f"The {what} must be numbers from 0 to {len(self) - 1}: prompts of the pool."
            )
        return found


def generator(seed: int, *key: str) -> np.random.Generator:
    """Random numbers that depend on nothing but a seed and names."""
    text = "\x1f".join([str(seed), *key])
    return np.random.default_rng(
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
    )


def _no_donors(variable: str, n: int, alone: bool) -> str:
    remedy = "let the function return something coarser, or draw more prompts (n)"
    if alone:
        return (
            f"The variable {variable!r} has another value on each of the {n} prompts, so that no "
            f"prompt has a donor but itself and the claim could not fail: {remedy}."
        )
    return (
        f"No two of the {n} prompts agree in both the variable {variable!r} and the places of their "
        f"roles, which align='index' asks for: use align='role', or {remedy}."
    )
