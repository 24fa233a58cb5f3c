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
DonorRows = np.ndarray | Mapping[tuple[str, str], np.ndarray]
Tree = tuple[TreeNode, Mapping[Path, DonorRows]]
Key = bytes


class ValueUses:
    """The values that trees use, each by a key: equal keys are equal values, for every reference.

    Attributes:
        keys: for each tree the key of each of its nodes.
        counts: how often each value is used, if no value is computed twice.
    """

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.counts: Counter[Key] = Counter()
        # digests of arrays, which several trees may hold, by the arrays' id: safe while this is
        # built, because the trees keep their arrays alive, so that no two share an id
        self._digests: dict[int, bytes] = {}
        self.keys = [self._make_keys(root, inputs) for root, inputs in trees]
        for (root, _), keys in zip(trees, self.keys, strict=True):
            for child in root.children:
                self._count_uses(child, keys)

    def _make_keys(self, root: TreeNode, inputs: Mapping[Path, DonorRows]) -> dict[Path, Key]:
        """A node's value follows from its site, its prompts, and what enters it where."""
        keys: dict[Path, Key] = {}
        # children before their parents, whose keys contain theirs
        for node in reversed(list(root.walk())):
            text = hashlib.blake2b(str(node.site).encode(), digest_size=16)
            given = inputs[node.path]
            for edge, rows in (
                sorted(given.items()) if isinstance(given, Mapping) else [(("", ""), given)]
            ):
                text.update(" ".join(edge).encode() + self._digest_rows(rows))
            for child in node.children:
                text.update(child.feeds.encode() + keys[child.path])
            keys[node.path] = text.digest()
        return keys

    def _digest_rows(self, rows: np.ndarray) -> bytes:
        if id(rows) not in self._digests:
            whole = np.ascontiguousarray(rows, np.int64)
            self._digests[id(rows)] = hashlib.blake2b(whole.tobytes(), digest_size=16).digest()
        return self._digests[id(rows)]

    def _count_uses(self, node: TreeNode, keys: Mapping[Path, Key]) -> None:
        key = keys[node.path]
        self.counts[key] += 1
        if self.counts[key] == 1:
            for child in node.children:
                self._count_uses(child, keys)


@dataclass
class SharedValues:
    """Values that will be used again, kept until their last use.

    Attributes:
        uses_left: how often each will still be used.
        bytes_free: bytes that may still be kept; what does not fit is computed again.
    """

    uses_left: Counter[Key]
    bytes_free: int
    _kept: dict[Key, Array] = field(default_factory=dict)

    def get_value(self, key: Key, make: Callable[[], Array]) -> Array:
        """The value of a key, made now if it is not kept."""
        self.uses_left[key] -= 1
        value = self._kept.get(key)
        if value is None:
            value = make()
            if self.uses_left[key] > 0 and value.nbytes <= self.bytes_free:
                self._kept[key] = value
                self.bytes_free -= value.nbytes
        elif self.uses_left[key] <= 0:
            self.bytes_free += self._kept.pop(key).nbytes
        return value
