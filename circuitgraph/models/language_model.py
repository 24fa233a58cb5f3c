"""A model that is loaded: what runs, how text becomes its tokens, and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np

from circuitgraph.graph.graph import Graph
from circuitgraph.models.name_tokenizer import TokenNames
from circuitgraph.models.spec import Spec
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.models.transformer import Transformer


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model: what runs, and what says where it came from.

    Attributes:
        name: as given by the user, or the folder.
        family: the Hugging Face ``model_type``.
        location: folder or hub name that it was read from.
        revision: the hub's commit, if it came from there.
        tokenizer: None if the checkpoint has none.
        vocab, output_vocab: names of tokens that are read and predicted, where a checkpoint without
            a tokenizer gives them.
    """

    name: str
    family: str
    location: str
    revision: str | None
    transformer: Transformer
    tokenizer: Tokenizer | None
    vocab: tuple[str, ...] | None = None
    output_vocab: tuple[str, ...] | None = None

    @cached_property
    def text_tokenizer(self) -> Tokenizer | TokenNames:
        """How text becomes tokens: the tokenizer, or the names (else the numbers) of tokens."""
        if self.tokenizer is not None:
            return self.tokenizer
        sizes = (self.spec.d_vocab, self.spec.d_vocab_out)
        return TokenNames.of_sizes(*sizes, self.vocab, self.output_vocab)

    @property
    def spec(self) -> Spec:
        """Sizes and switches."""
        return self.transformer.spec

    def graph(self, *, direct: bool = False, grouped: bool = False) -> Graph:
        """The model's graph; arguments as of `Spec.graph`."""
        return self.spec.graph(direct=direct, grouped=grouped)

    @property
    def dtype(self) -> str:
        """Precision of the weights and of what is computed with them."""
        return str(self.transformer.embedding.dtype)

    @property
    def n_parameters(self) -> int:
        """Number of weights that the forward pass uses; one that serves twice counts once."""
        return sum(
            leaf.size
            for leaf in {id(leaf): leaf for leaf in jax.tree.leaves(self.transformer)}.values()
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of spec and weights; equal for equal models, however they are stored."""
        digest = hashlib.sha256(repr(self.spec).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.transformer):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
        return digest.hexdigest()
