"""A tokenizer as tasks need it: no token is ever added silently."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


class Tokenizer:
    """A transformers tokenizer with the special-token magic switched off.

    Token ids are the interface: `encode` returns exactly the tokens of the text, no BOS, no EOS.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.unknown_id: int | None = inner.unk_token_id
        self.special_ids: frozenset[int] = frozenset(inner.all_special_ids)

    def __len__(self) -> int:
        return len(self._inner)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``."""
        return self._inner.encode(text, add_special_tokens=False)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, in one call."""
        return self._inner(list(texts), add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens."""
        return self._inner.decode(list(ids), clean_up_tokenization_spaces=False)

    def vocabulary(self) -> list[int]:
        """Ids of all tokens that are not special, in order."""
        return sorted(set(self._inner.get_vocab().values()) - self.special_ids)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides how text is split."""
        backend = getattr(self._inner, "backend_tokenizer", None)
        text = backend.to_str() if backend is not None else repr(sorted(self._inner.get_vocab().items()))
        return hashlib.sha256(text.encode()).hexdigest()
