"""Donors for a tree of claims: the recursive resampling of causal scrubbing, on prompts' numbers.

The algorithm is that of Chan et al. (2022, "Causal scrubbing"). The root's datum is the reference.
A child's datum, its donor, agrees with its PARENT's datum on the child's variable. The donor is
drawn uniformly and with replacement from all prompts of the pool that agree (the parent's own datum
is among them). The inputs that no claim covers at a node with children are computed on one more
prompt, drawn without condition.

Every random number is a function of the seed, the node's path and the reference's number in the
pool. So neither the order of the references nor the names of a variable's values change a draw.
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
"""How a node's datum is chosen.

``equal``: among the prompts that are equal on its variable; ``free``: among all prompts; ``exact``:
the parent's datum; or the prompts that are given.
"""

Edge = tuple[str, str]
"""An input of a site and a writer that feeds it, such as ``("k", "a0.h1")``."""

NodeInputs = Mapping[Path, Indices | Mapping[Edge, Indices]]


@dataclass(frozen=True)
class Classes:
    """The prompts of a pool, grouped by a variable's value.

    Attributes:
        codes: one number for each prompt; prompts with equal numbers have equal values.
    """

    codes: Indices

    @cached_property
    def class_numbers(self) -> Indices:
        """For each prompt the number of its class, from 0."""
        return np.unique(self.codes, return_inverse=True)[1].reshape(-1)

    @cached_property
    def sizes(self) -> Indices:
        """How many prompts each class has."""
        return np.bincount(self.class_numbers)

    @cached_property
    def members(self) -> Indices:
        """The prompts, class by class, each class in the pool's order."""
        return np.argsort(self.class_numbers, kind="stable")

    @cached_property
    def starts(self) -> Indices:
        """Where each class begins among the members."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def n_singletons(self) -> int:
        """How many prompts are alone with their value, and so can only be their own donors."""
        return int((self.sizes == 1).sum())

    @property
    def effective_donors(self) -> float:
        """The exponential of the prompt's entropy given the value: 1 if each is its only donor.

        It is the geometric mean, over prompts, of the number of prompts that have the same value.
        """
        return float(np.exp((self.sizes * np.log(self.sizes)).sum() / len(self.codes)))

    def draw_members(self, prompts: Indices, uniform: np.ndarray) -> Indices:
        """For each prompt one of its class: the one at which a number from [0, 1) points."""
        numbers = self.class_numbers[prompts]
        offsets = (uniform * self.sizes[numbers]).astype(np.int64)
        return self.members[self.starts[numbers] + offsets]

    def split_by(self, codes: Indices) -> Classes:
        """Classes of prompts that agree in another code as well."""
        both = np.stack([self.class_numbers, codes])  # [2, pool]
        return Classes(np.unique(both, axis=1, return_inverse=True)[1].reshape(-1))


@dataclass(frozen=True)
class TreeDonors:
    """What was drawn for a tree, for each reference.

    Attributes:
        datum: each node's own prompt: the reference for the root, the donor for other nodes.
        inputs: as `circuitgraph.engine.tree.run.run_tree` takes them: a leaf's datum; for a node
            with children the prompt, or prompts, on which all is computed that its children do not
            cover.
    """

    datum: Mapping[Path, Indices]
    inputs: NodeInputs

    def share_arrays(self, known: dict[bytes, Indices]) -> TreeDonors:
        """The same donors, with known arrays in place of equal ones; new arrays become known."""

        def share(indices: Indices) -> Indices:
            digest = hashlib.blake2b(indices.tobytes(), digest_size=16).digest()
            return known.setdefault(digest, indices)

        inputs = {
            path: share(prompts)
            if isinstance(prompts, np.ndarray)
            else {edge: share(indices) for edge, indices in prompts.items()}
            for path, prompts in self.inputs.items()
        }
        return TreeDonors({path: share(indices) for path, indices in self.datum.items()}, inputs)

    def list_inputs(self) -> list[Indices]:
        """All arrays of prompts that feed the model."""
        arrays: list[Indices] = []
        for prompts in self.inputs.values():
            arrays += [prompts] if isinstance(prompts, np.ndarray) else prompts.values()
        return arrays


@dataclass(frozen=True)
class Sampler:
    """Draws donors from a pool of prompts.

    Attributes:
        codes: for each variable, its class on each prompt of the pool.
        unclaimed: how the inputs that no claim covers are drawn; see
            `circuitgraph.hypotheses.Hypothesis`.
        layouts: if given, a donor must have the same number here as the reference.
        edges: for a site all its inputs and writers; only ``separate`` needs them.
        known_classes: classes of variables that were already worked out.
    """

    codes: Mapping[str, Indices]
    seed: int = 0
    unclaimed: Unclaimed = "joint"
    layouts: Indices | None = None
    edges: Callable[[Site], Sequence[Edge]] | None = None
    known_classes: dict[str, Classes] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_choice("unclaimed", self.unclaimed, UNCLAIMED)
        if self.unclaimed == "separate" and self.edges is None:
            raise ArgumentError("unclaimed='separate' needs the edges of every site.")

    def __len__(self) -> int:
        """The pool's number of prompts."""
        return len(next(iter(self.codes.values())))

    def classify_pool(self, variable: str) -> Classes:
        """The pool by a variable's value (and by layout, if the layouts must agree).

        Raises:
            HypothesisError: no two prompts have the same value, so that nothing can be exchanged.
        """
        if variable not in self.known_classes:
            classes = Classes(self.codes[variable])
            all_differ = classes.n_singletons == len(self)
            if self.layouts is not None:
                classes = classes.split_by(self.layouts)
            if len(self) > 1 and classes.n_singletons == len(self):
                raise HypothesisError(_explain_no_donors(variable, len(self), all_differ))
            self.known_classes[variable] = classes
        return self.known_classes[variable]

    def draw_donors(
        self,
        root: TreeNode,
        references: Indices,
        *,
        modes: Mapping[Path, Mode] | None = None,
        keep: Iterable[Path] = (),
    ) -> TreeDonors:
        """Donors for every node of a tree.

        Args:
            references: numbers of prompts of the pool.
            modes: for nodes that are not to be ``equal`` (the root: ``exact``). Nodes of one tie
                have the same mode.
            keep: nodes whose unclaimed inputs stay on their own datum.

        Raises:
            ArgumentError: a path that the tree does not have, or a prompt that the pool does not
                have.
            HypothesisError: a variable of the tree has no two prompts of the same value.
        """
        known_modes: dict[Path, Mode] = {**(modes or {})}
        kept_paths = set(keep)
        unknown = (known_modes.keys() | kept_paths) - {node.path for node in root.walk()}
        if unknown:
            raise ArgumentError(f"The tree has no node {' > '.join(unknown.pop())!r}.")
        references = self._check_indices("references", references)
        datum, inputs = {}, {}
        # A node is drawn after its parent, because its donor agrees with the parent's datum.
        pending: list[tuple[TreeNode, Indices, Mode]] = [(root, references, "exact")]
        while pending:
            node, parent, default = pending.pop()
            mode = known_modes.get(node.path, default)
            datum[node.path] = own = self._draw_datum(node, parent, references, mode)
            inputs[node.path] = own
            if node.children and node.path not in kept_paths:
                inputs[node.path] = self._draw_unclaimed(node, own, references)
            pending.extend((child, own, "equal") for child in node.children)
        return TreeDonors(datum, inputs)

    def _draw_datum(
        self, node: TreeNode, parent: Indices, references: Indices, mode: Mode
    ) -> Indices:
        if not isinstance(mode, str):
            return self._check_indices(f"donors of {node.name}", mode)
        if mode == "exact":
            return parent
        uniform = self._draw_uniform("datum", *(node.tie or node.path))[references]
        classes = self.classify_pool(node.variable) if mode == "equal" else self._whole_pool
        return classes.draw_members(parent, uniform)

    def _draw_unclaimed(
        self, node: TreeNode, own: Indices, references: Indices
    ) -> Indices | dict[Edge, Indices]:
        """The prompts for the inputs that the children of a node do not cover."""
        if self.unclaimed == "keep":
            return own
        if self.unclaimed == "separate" and self.edges is not None:
            return {
                edge: self._draw_any(references, *node.path, *edge)
                for edge in self.edges(node.site)
            }
        return self._draw_any(references, *([] if self.unclaimed == "everywhere" else node.path))

    def _draw_any(self, references: Indices, *key: str) -> Indices:
        """For each reference a prompt of the pool, drawn without condition."""
        uniform = self._draw_uniform("unclaimed", *key)[references]
        return self._whole_pool.draw_members(references, uniform)

    @cached_property
    def _whole_pool(self) -> Classes:
        """The pool as one class, or as one class for each layout."""
        return Classes(np.zeros(len(self), np.int64) if self.layouts is None else self.layouts)

    def _draw_uniform(self, *key: str) -> np.ndarray:
        """One number in [0, 1) for each prompt of the pool, the same for the same seed and key."""
        # Drawn for the whole pool, so that the order of the references changes no draw.
        return make_generator(self.seed, *key).random(len(self))

    def _check_indices(self, name: str, indices: Indices) -> Indices:
        indices = np.asarray(indices, np.int64)
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self)):
            raise ArgumentError(
                f"The {name} must be numbers from 0 to {len(self) - 1}: prompts of the pool."
            )
        return indices


def make_generator(seed: int, *key: str) -> np.random.Generator:
    """A generator of random numbers that depend on nothing but a seed and names."""
    text = "\x1f".join([str(seed), *key])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _explain_no_donors(variable: str, n: int, all_differ: bool) -> str:
    remedy = "let the function return something coarser, or draw more prompts (n)"
    if all_differ:
        return (
            f"The variable {variable!r} has another value on each of the {n} prompts, so that no "
            f"prompt has a donor but itself and the claim could not fail: {remedy}."
        )
    return (
        f"No two of the {n} prompts agree in both the variable {variable!r} and the places of "
        f"their roles, which align='index' asks for: use align='role', or {remedy}."
    )
