"""A tokenizer as tasks need it: no token is ever added silently."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from circuitgraph.errors import ModelError, first_line

_OLDER_FILES = ("vocab.json", "tokenizer.model", "vocab.txt")


class Tokenizer:
    """A transformers tokenizer with the special-token magic switched off.

    Token ids are the interface: `encode` returns exactly the tokens of the text, no BOS, no EOS.

    Attributes:
        unknown_id: the token of text that has no token; None where every text has tokens.
        special_ids: the tokens that are not text.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._backend = getattr(inner, "backend_tokenizer", None)
        if self._backend:
            self._backend.no_truncation()  # the text is the prompt, all of it and nothing else
            self._backend.no_padding()
        # The model says how long a prompt may be, not the tokenizer's log.
        inner.model_max_length = sys.maxsize
        self.unknown_id: int | None = _find_unknown_id(inner)
        added_ids = {i for i, token in inner.added_tokens_decoder.items() if token.special}
        self.special_ids: frozenset[int] = frozenset(inner.all_special_ids) | added_ids

    def __len__(self) -> int:
        return len(self._inner)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``."""
        # The same tokens without transformers' own work, which takes three times as long.
        if self._backend:
            return self._backend.encode(text, add_special_tokens=False).ids
        return self._inner.encode(text, add_special_tokens=False)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, in one call."""
        if self._backend:
            return [self.encode(text) for text in texts]
        return self._inner(list(texts), add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens."""
        return self._inner.decode(list(ids), clean_up_tokenization_spaces=False)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each token by itself, as text."""
        return [self.decode([i]) for i in ids]

    @property
    def bos(self) -> str | None:
        """The name of the token that begins a text; `encode` never adds this token."""
        return self._inner.bos_token

    def list_default_additions(self) -> list[str]:
        """The tokens that the tokenizer itself would put around a text."""
        text = "a"
        plain, default = self.encode(text), self._inner.encode(text)
        return self.tokens([i for i in default if i not in plain])

    def vocabulary(self) -> list[int]:
        """Ids of all tokens that are not special, in order."""
        return sorted(set(self._inner.get_vocab().values()) - self.special_ids)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides how the tokenizer splits text."""
        backend = getattr(self._inner, "backend_tokenizer", None)
        if backend is None:
            rules: Any = sorted(self._inner.get_vocab().items())
        else:
            content = json.loads(backend.to_str())
            rules = {
                part: content.get(part)
                for part in ("normalizer", "pre_tokenizer", "model", "added_tokens")
            }
        return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _find_unknown_id(inner: Any) -> int | None:
    """The token of text that has no token, by the splitting rules or else the special tokens.

    GPT-2's special tokens call the end of text unknown as well, although no text becomes that token
    but its own name; so an unknown token that is also BOS or EOS does not count.
    """
    rules = getattr(getattr(inner, "backend_tokenizer", None), "model", None)
    if token := getattr(rules, "unk_token", None):
        return inner.backend_tokenizer.token_to_id(token)
    if inner.unk_token_id in {inner.bos_token_id, inner.eos_token_id}:
        return None
    return inner.unk_token_id


def read_tokenizer(location: str, options: dict[str, Any]) -> Tokenizer | None:
    """The tokenizer of a folder or hub name; None if there is none.

    A tokenizer.json is taken as it is. AutoTokenizer would keep its vocabulary only and split text
    the way the model's family usually does.

    Raises:
        ModelError: there are files, but they cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils.hub import cached_file

    def has_file(file: str) -> bool:
        path = cached_file(location, file, _raise_exceptions_for_missing_entries=False, **options)
        return path is not None

    try:
        if has_file("tokenizer.json"):
            return Tokenizer(PreTrainedTokenizerFast.from_pretrained(location, **options))
        if any(has_file(file) for file in _OLDER_FILES):
            return Tokenizer(AutoTokenizer.from_pretrained(location, **options))
    except Exception as error:
        raise ModelError(
            f"The tokenizer of {location!r} cannot be read: {first_line(error)}. Save it again, or "
            "remove its files: a model runs without one."
        ) from error
    return None
