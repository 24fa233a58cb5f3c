"""A tokenizer as tasks need it: what is put before a text is said, and can be switched off."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal

from circuitgraph.errors import ModelError, first_line
from circuitgraph.foreign import LARGEST_CONFIG, read_json
from circuitgraph.models.fast_tokenizer import read_fast_tokenizer
from circuitgraph.models.hub import find_file, quiet_transformers
from circuitgraph.models.tokenizer_rules import check_rules
from circuitgraph.printable import NAME, make_printable

Bos = Literal["auto", "yes", "no"]
_CONFIG_FILE = "tokenizer_config.json"
_REMEMBERED = 1000  # texts whose tokens are remembered
_OLDER_FILES = ("vocab.json", "tokenizer.model", "vocab.txt")


class Tokenizer:
    """A tokenizer with the special-token magic switched off.

    Token ids are the interface: `encode` returns exactly the tokens of the text, no BOS, no EOS.

    Attributes:
        prefix: the tokens that stand before every prompt: those that the tokenizer itself puts
            there (most often BOS, or none), or as `with_bos` says.
        unknown_id: the token of text that has no token; None where every text has tokens.
        special_ids: the tokens that are not text.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._backend = getattr(inner, "backend_tokenizer", None)
        if self._backend:
            self._backend.no_truncation()  # the text is the prompt, all of it and nothing else
            self._backend.no_padding()
        # The answers of a prompt are tried one by one: each time the prompt's own tokens are asked
        # for, and those of an answer that other prompts have too.
        self._encode_once = lru_cache(maxsize=_REMEMBERED)(self._encode)
        # The model says how long a prompt may be, not the tokenizer's log.
        inner.model_max_length = sys.maxsize
        self.unknown_id: int | None = _find_unknown_id(inner)
        added_ids = {i for i, token in inner.added_tokens_decoder.items() if token.special}
        self.special_ids: frozenset[int] = frozenset(inner.all_special_ids) | added_ids
        self.prefix: tuple[int, ...] = self._find_default_prefix()

    def __len__(self) -> int:
        return len(self._inner)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``.

        Raises:
            ModelError: the tokenizer's patterns need too long for it.
        """
        return list(self._encode_once(text))

    def _encode(self, text: str) -> list[int]:
        # The same tokens without transformers' own work, which takes three times as long.
        if self._backend:
            try:
                return self._backend.encode(text, add_special_tokens=False).ids
            except BaseException as error:
                if type(error).__name__ != "PanicException":  # which is no `Exception`
                    raise
                raise ModelError(
                    f"The tokenizer gave up on {make_printable(text, NAME)!r}: {error}. Use other "
                    "texts, or another tokenizer."
                ) from error
        return self._inner.encode(text, add_special_tokens=False)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, in one call."""
        if self._backend:
            return [self.encode(text) for text in texts]
        return self._inner(list(texts), add_special_tokens=False)["input_ids"]

    def encode_answer(self, prompt: str, answer: str) -> list[int]:
        """The tokens by which the text goes on after the prompt.

        None if the answer changes the prompt's own tokens, as a letter more changes a word's.
        """
        before, whole = self.encode(prompt), self.encode(prompt + answer)
        return whole[len(before) :] if whole[: len(before)] == before else []

    def decode_answer(self, token: int) -> str:
        """The text of an answer's token."""
        return self.decode([token])

    def with_bos(self, bos: Bos) -> Tokenizer:
        """The same tokenizer with another ``prefix``.

        Args:
            bos: ``auto``: as the tokenizer itself does; ``yes``: BOS; ``no``: nothing.

        Raises:
            ModelError: ``yes``, but the tokenizer has no BOS.
        """
        other = copy(self)
        other.prefix = self._find_default_prefix() if bos == "auto" else ()
        if bos == "yes":
            if self._inner.bos_token_id is None:
                raise ModelError("bos is 'yes', but the tokenizer has no BOS: use 'auto' or 'no'.")
            other.prefix = (self._inner.bos_token_id,)
        return other

    def render_chat(self, text: str) -> str:
        """A text as what a user says to a chat model, up to where the model's answer begins.

        Raises:
            ModelError: the tokenizer has no chat template, or the template refuses.
        """
        if not self._inner.chat_template:
            raise ModelError("The tokenizer has no chat template: leave out --chat.")
        messages = [{"role": "user", "content": text}]
        try:
            return self._inner.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            raise ModelError(f"The chat template cannot be used: {first_line(error)}") from error

    def _find_default_prefix(self) -> tuple[int, ...]:
        """The tokens that the tokenizer itself puts before a text."""
        text = "a"
        try:
            plain = self.encode(text)
        except Exception:
            text = self.decode(self.vocabulary()[:1])  # no token for unknown text
            plain = self.encode(text)
        default = self._inner.encode(text)
        start = next(
            (i for i in range(len(default)) if default[i : i + len(plain)] == plain and plain), 0
        )
        return tuple(default[:start])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens."""
        return self._inner.decode(list(ids), clean_up_tokenization_spaces=False)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each token by itself, as text."""
        return [self.decode([i]) for i in ids]

    @property
    def bos(self) -> str | None:
        """The name of the token that begins a text."""
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


def _set_prefix_space(backend: Any, adds: Any) -> None:
    """Let a byte-level tokenizer put a space in front of a text, or not; None changes nothing."""
    from tokenizers import pre_tokenizers

    splitter = backend.pre_tokenizer
    parts = splitter if isinstance(splitter, pre_tokenizers.Sequence) else [splitter]
    for part in parts:  # pyright: ignore[reportGeneralTypeIssues]  (its indexing is untyped)
        if isinstance(part, pre_tokenizers.ByteLevel) and isinstance(adds, bool):
            part.add_prefix_space = adds


def read_tokenizer(location: str, options: dict[str, Any]) -> Tokenizer | None:
    """The tokenizer of a folder or hub name; None if there is none.

    A tokenizer.json is taken as it is, but for the space in front of a text, which
    tokenizer_config.json decides if it speaks of it (``add_prefix_space``). AutoTokenizer would
    keep the vocabulary only and split text the way the model's family usually does.

    Raises:
        ModelError: there are files, but they cannot be read.
    """
    try:
        rules = find_file(location, "tokenizer.json", options)
        if rules is not None:
            if not options.get("trust_remote_code"):
                check_rules(rules)
            inner = _read_rules(location, options)
            config = find_file(location, _CONFIG_FILE, options)
            if config is not None:
                settings = read_json(config, LARGEST_CONFIG)
                _set_prefix_space(inner.backend_tokenizer, settings.get("add_prefix_space"))
            return Tokenizer(inner)
        older = [f for f in _OLDER_FILES if find_file(location, f, options) is not None]
        if older == ["tokenizer.model"]:
            _check_sentencepiece()
        if older:
            with quiet_transformers():
                from transformers import AutoTokenizer

                return Tokenizer(AutoTokenizer.from_pretrained(location, **options))
    except Exception as error:
        raise ModelError(
            f"The tokenizer of {location!r} cannot be read: {first_line(error)}. Save it again, or "
            "remove its files: a model runs without one."
        ) from error
    return None


def _check_sentencepiece() -> None:
    """Raise `ImportError` where a package is missing without which transformers guesses wrong."""
    for package in ("sentencepiece", "protobuf"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise ImportError(
                "it is a SentencePiece model (tokenizer.model) without a tokenizer.json, which "
                f"needs the package {package} (pip install sentencepiece protobuf)"
            ) from error


def _read_rules(location: str, options: dict[str, Any]) -> Any:
    """The tokenizer of a tokenizer.json, by transformers only where anything is unusual."""

    def load_whole() -> Any:
        with quiet_transformers():
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(location, **options)

    try:
        fast = read_fast_tokenizer(lambda file: find_file(location, file, options), load_whole)
    except Exception:  # of the tokenizers library's own kinds; transformers has the message
        fast = None
    return load_whole() if fast is None else fast
