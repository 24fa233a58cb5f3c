"""What trees of claims have in common is computed once.

The same path with the same prompts is the same value.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jax import Array

from circuitgraph.graph.tree import Path, TreeNode

# which prompts a node reads; or one array for each edge
Prompts_ = np.ndarray | Mapping[tuple[str, str], np.ndarray]
Tree = tuple[TreeNode, Mapping[Path, Prompts_]]
Key = bytes


class Uses:
    """The values that trees use, each by a key: equal keys are equal values, for every reference.

    Attributes:
        keys: for each tree the key of each of its nodes.
        counts: how often each value is asked for, if no value is computed twice.
    """

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.counts: Counter[Key] = Counter()
        self._digests: dict[int, bytes] = {}  # of arrays, which several trees may hold
        self.keys = [self._keys(root, inputs) for root, inputs in trees]
        for (root, _), keys in zip(trees, self.keys, strict=True):
            for child in root.children:
                self._count(child, keys)

    def _keys(self, root: TreeNode, inputs: Mapping[Path, Prompts_]) -> dict[Path, Key]:
        """A node's value follows from its site, its prompts, and what enters it where."""
        found: dict[Path, Key] = {}
        for node in reversed(list(root.walk())):
            text = hashlib.blake2b(str(node.site).encode(), digest_size=16)
            given = inputs[node.path]
            for edge, rows in (
                sorted(given.items()) if isinstance(given, Mapping) else [(("", ""), given)]
            ):
                text.update(" ".join(edge).encode() + self._digest(rows))
            for child in node.children:
                text.update(child.feeds.encode() + found[child.path])
            found[node.path] = text.digest()
        return found

    def _digest(self, rows: np.ndarray) -> bytes:
        if id(rows) not in self._digests:
            whole = np.ascontiguousarray(rows, np.int64)
            self._digests[id(rows)] = hashlib.blake2b(whole.tobytes(), digest_size=16).digest()
        return self._digests[id(rows)]

    def _count(self, node: TreeNode, keys: Mapping[Path, Key]) -> None:
        key = keys[node.path]
        self.counts[key] += 1
        if self.counts[key] == 1:
            for child in node.children:
                self._count(child, keys)


@dataclass
class Shared:
    """Values that will be asked for again, kept until they were.

    Attributes:
        left: how often each will be asked for.
        room: bytes that may still be kept; what does not fit is computed again.
    """

    left: Counter[Key]
    room: int
    _kept: dict[Key, Array] = field(default_factory=dict)

    def get(self, key: Key, make: Callable[[], Array]) -> Array:
        """The value of a key, made now if it is not at hand."""
        self.left[key] -= 1
        found = self._kept.get(key)
        if found is None:
            found = make()
            if self.left[key] > 0 and found.nbytes <= self.room:
                self._kept[key] = found
                self.room -= found.nbytes
        elif self.left[key] <= 0:
            self.room += self._kept.pop(key).nbytes
        return found
