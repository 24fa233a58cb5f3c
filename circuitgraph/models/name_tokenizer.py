"""Tokens of models that have no tokenizer: each has a name, or its number for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from circuitgraph.errors import ModelError
from circuitgraph.models.tokenizer import Bos


class TokenNames:
    """A tokenizer for token ids: a text is names with spaces between them, such as ``"3 17 113"``.

    Attributes:
        unknown_id: -1, which is no token: what a name has that is not known.
        special_ids: none.
        prefix: none; nothing stands before a prompt.
    """

    unknown_id: int | None = -1
    special_ids: frozenset[int] = frozenset()
    prefix: tuple[int, ...] = ()

    def __init__(self, names: Sequence[str], outputs: Sequence[str] | None = None) -> None:
        """Take the names of the tokens that are read, and of those that are predicted.

        Args:
            outputs: by default ``names``, where a model predicts what it reads.
        """
        self._names, self._outputs = tuple(names), tuple(names if outputs is None else outputs)
        self._ids = {name: i for i, name in enumerate(self._names)}
        self._output_ids = {name: i for i, name in enumerate(self._outputs)}

    @classmethod
    def of_sizes(
        cls,
        d_vocab: int,
        d_vocab_out: int,
        vocab: Sequence[str] | None = None,
        output_vocab: Sequence[str] | None = None,
    ) -> TokenNames:
        """The names that a checkpoint gives, and numbers where it gives none."""
        names = vocab or tuple(map(str, range(d_vocab)))
        if output_vocab is None:
            same = d_vocab_out == d_vocab
            output_vocab = names if same else tuple(map(str, range(d_vocab_out)))
        return cls(names, output_vocab)

    def __len__(self) -> int:
        return len(self._names)

    def encode(self, text: str) -> list[int]:
        """Token ids of names with spaces between them."""
        return [self._ids.get(name, -1) for name in text.split()]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts."""
        return list(map(self.encode, texts))

    def encode_answer(self, prompt: str, answer: str) -> list[int]:
        """Ids of outputs, wherever their names stand."""
        del prompt
        return [self._output_ids.get(name, -1) for name in answer.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """The names of tokens, with spaces between them."""
        return " ".join(self._names[i] if 0 <= i < len(self._names) else f"?{i}" for i in ids)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The name of each token."""
        return [self.decode([i]) for i in ids]

    def decode_answer(self, token: int) -> str:
        """The name of an output."""
        return self._outputs[token] if 0 <= token < len(self._outputs) else f"?{token}"

    def vocabulary(self) -> list[int]:
        """All ids that can be read."""
        return list(range(len(self._names)))

    def with_bos(self, bos: Bos) -> TokenNames:
        """The same: there is no BOS. Raises `ModelError` if one is wanted."""
        if bos == "yes":
            raise ModelError("bos is 'yes', but a model without a tokenizer has no BOS.")
        return self

    def render_chat(self, text: str) -> str:
        """There is no chat template: raises `ModelError`."""
        raise ModelError(f"A model without a tokenizer has no chat template for {text!r}.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names."""
        return hashlib.sha256(json.dumps([self._names, self._outputs]).encode()).hexdigest()
