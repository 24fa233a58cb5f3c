"""A dictionary that stands beside a model: its features can be nodes of the model's graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from circuitgraph.models.dictionaries.dictionary import Dictionary


@dataclass(frozen=True)
class AttachedDictionary:
    """A dictionary with all its weights, and what says where it came from.

    Attributes:
        name: as given by the user; empty where it came from no file.
    """

    name: str
    dictionary: Dictionary

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of how it computes and of its weights, however they are stored."""
        digest = hashlib.sha256(repr(self.dictionary.spec.computation).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.dictionary):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
        return digest.hexdigest()
