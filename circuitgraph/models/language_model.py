"""A model that is loaded: what runs, how text becomes its tokens, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.errors import DataError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.dictionaries.attached import AttachedDictionary
from circuitgraph.models.name_tokenizer import TokenNames
from circuitgraph.models.norms import to_float32
from circuitgraph.models.sharding import fetch_whole, find_weight_mesh
from circuitgraph.models.spec import Spec
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.models.transformer import Transformer
from circuitgraph.showable import Showable


@dataclass(frozen=True)
class LanguageModel(Showable):
    """A loaded model: what runs, and what says where it came from.

    Attributes:
        name: as given by the user, or the folder.
        family: the Hugging Face ``model_type``.
        location: folder or hub name that it was read from.
        revision: the hub's commit, if it came from there.
        tokenizer: None if the checkpoint has none.
        vocab, output_vocab: names of the tokens that it reads and of the classes that it predicts,
            by id, where the configuration of a state dict or the caller gives any.
        settings: of a state dict, the fields of its configuration.
        options: what else `load_model` was told that another loading must be told too, as plain
            JSON values: ``config``, ``trust_remote_code``.
        dictionaries: by the layer whose MLP each takes apart; see `attach_dictionaries`.
    """

    name: str
    family: str
    location: str
    revision: str | None
    transformer: Transformer
    tokenizer: Tokenizer | None
    vocab: tuple[str, ...] | None = None
    output_vocab: tuple[str, ...] | None = None
    settings: Mapping[str, Any] | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    dictionaries: Mapping[int, AttachedDictionary] = field(default_factory=dict, repr=False)

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

    def graph_like(self, other: Graph) -> Graph:
        """The model's graph by the conventions of another, its nodes in the same parts."""
        graph = self.graph(direct=other.direct, grouped=other.n_kv_heads is not None)
        return replace(graph, splits=other.splits, head_splits=other.head_splits)

    def logits(
        self, prompts: Sequence[str] | Sequence[Sequence[int]] | Int[np.ndarray, "batch pos"]
    ) -> Float[np.ndarray, "batch pos vocab_out"]:
        """The logits at every position of every prompt, in float32 (float64 of a float64 model).

        Args:
            prompts: texts, or token ids. Before a text stands what the tokenizer puts there by
                itself, BOS most often or nothing; ids are taken as they are.

        Returns:
            What the model predicts after each token. Where prompts differ in length, the rows
            beyond a shorter prompt's end are NaN.

        Raises:
            DataError: no prompt, an empty one, one longer than the model's context, or an id or a
                name that the model does not read.
        """
        ids = self.read_prompts(prompts)
        lengths = np.array([len(prompt) for prompt in ids])
        tokens = np.zeros((len(ids), lengths.max()), np.int32)
        for row, prompt in zip(tokens, ids, strict=True):
            row[: len(prompt)] = prompt
        positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
        mask = positions < lengths[:, None]
        logits = np.asarray(_run(self.transformer, tokens, mask, positions))
        return np.where(mask[..., None], logits, np.nan).astype(logits.dtype)

    def read_prompts(self, prompts: Any) -> list[list[int]]:
        """The token ids of prompts, checked."""
        if isinstance(prompts, str):
            raise DataError("The prompts are one text. Give a list of texts: [text].")
        ids = [self._read_prompt(number, prompt) for number, prompt in enumerate(prompts)]
        if not ids:
            raise DataError("There are no prompts. Give at least one.")
        return ids

    def _read_prompt(self, number: int, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            tokenizer = self.text_tokenizer
            text, prompt = prompt, [*tokenizer.prefix, *tokenizer.encode(prompt)]
            if tokenizer.unknown_id is not None and tokenizer.unknown_id in prompt:
                raise DataError(f"Prompt {number}, {text!r}, holds a token that is not known.")
        ids = np.asarray(prompt)
        if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
            raise DataError(f"Prompt {number} is no list of token ids, or empty: {prompt!r}.")
        if len(ids) > self.spec.n_ctx:
            raise DataError(
                f"Prompt {number} has {len(ids)} tokens; the model's context is {self.spec.n_ctx}."
            )
        if bad := [int(i) for i in ids if not 0 <= i < self.spec.d_vocab]:
            raise DataError(
                f"Prompt {number} holds the id {bad[0]}; the model reads ids from 0 to "
                f"{self.spec.d_vocab - 1}."
            )
        return ids.tolist()

    @property
    def dtype(self) -> str:
        """Precision of the weights and of what is computed with them."""
        return str(self.transformer.embedding.dtype)

    @property
    def shards(self) -> int | None:
        """How many devices each weight is cut over; None where all weights are on each."""
        mesh = find_weight_mesh(self.transformer)
        return None if mesh is None else mesh.devices.size

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
        digest.update(self.spec.late_settings.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.transformer):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(fetch_whole(leaf)).view(np.uint8).data)
        return digest.hexdigest()


@eqx.filter_jit
def _run(
    network: Transformer,
    tokens: Int[np.ndarray | Array, "batch pos"],
    mask: Bool[np.ndarray | Array, "batch pos"],
    positions: Int[np.ndarray | Array, "batch pos"],
) -> Float[Array, "batch pos vocab_out"]:
    with jax.default_matmul_precision("highest"):
        logits = network(*map(jnp.asarray, (tokens, mask, positions)))
    return to_float32(logits)
