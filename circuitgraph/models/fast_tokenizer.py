"""A tokenizer.json without transformers: what its rules and tokenizer_config.json say.

It does what transformers' PreTrainedTokenizerFast does with the same files, as far as
`circuitgraph.models.tokenizer.Tokenizer` asks. Files with anything unusual are left to
transformers: `read_fast_tokenizer` then returns None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Any

from circuitgraph.errors import ModelError
from circuitgraph.foreign import LARGEST_CONFIG, read_json

# in the order in which transformers gives ids to those that have none
_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class FastTokenizer:
    """Rules of the tokenizers library, with names for some of its tokens.

    Args:
        backend: the rules. Tokens with a name that are not marked as special in them will be.
        names: ``bos_token`` and the like, and the token of each.
        extra: other tokens that are no text.
        load_whole: makes transformers' tokenizer of the same files, where a chat is to be rendered.
    """

    def __init__(
        self,
        backend: Any,
        names: Mapping[str, str],
        extra: Sequence[str] = (),
        load_whole: Callable[[], Any] | None = None,
    ) -> None:
        from tokenizers import AddedToken

        self.backend_tokenizer = backend
        self._names, self._extra, self._load_whole = names, extra, load_whole
        known = {token.content for token in self.added_tokens_decoder.values()}
        new_tokens = [token for token in dict.fromkeys(names.values()) if token not in known]
        backend.add_tokens([AddedToken(token, special=True) for token in new_tokens])

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the tokens that the rules put around it."""
        return self.backend_tokenizer.encode(text).ids

    def decode(self, ids: Sequence[int], *, clean_up_tokenization_spaces: bool) -> str:
        """The text of these tokens."""
        assert not clean_up_tokenization_spaces  # noqa: S101 - nobody wants that
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=False)

    def get_vocab(self) -> dict[str, int]:
        """The id of each token."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by their ids."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the tokens that have names, and of the extra ones."""
        tokens = dict.fromkeys((*self._names.values(), *self._extra))
        return [self.backend_tokenizer.token_to_id(token) for token in tokens]

    @property
    def bos_token(self) -> str | None:
        """The token that begins a text."""
        return self._names.get("bos_token")

    @property
    def bos_token_id(self) -> int | None:
        """The id of the token that begins a text."""
        return self._find_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a text."""
        return self._find_id("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        """The id of the token for unknown text."""
        return self._find_id("unk_token")

    @property
    def chat_template(self) -> Any:
        """The chat template, or several, as transformers reads them."""
        return None if self._whole is None else self._whole.chat_template

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
        """The text of a conversation, as transformers renders it."""
        return self._whole.apply_chat_template(messages, **options)

    @cached_property
    def _whole(self) -> Any:
        return None if self._load_whole is None else self._load_whole()

    def _find_id(self, name: str) -> int | None:
        token = self._names.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)


def read_fast_tokenizer(
    find_file: Callable[[str], Path | None], load_whole: Callable[[], Any]
) -> FastTokenizer | None:
    """The tokenizer of a tokenizer.json; None if it takes transformers to read it.

    Args:
        find_file: the path of one of the checkpoint's files, None if there is none.
        load_whole: makes transformers' tokenizer of the same files.
    """
    from tokenizers import Tokenizer

    config = _read_json(find_file("tokenizer_config.json"))
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if "added_tokens_decoder" not in config:  # what transformers 4 wrote beside it then counts
        older = _read_json(find_file("special_tokens_map.json"))
        if find_file("added_tokens.json") is not None or not set(_NAMES).issuperset(older):
            return None
        config |= older
    backend = Tokenizer.from_file(str(find_file("tokenizer.json")))
    added = backend.get_added_tokens_decoder().values()
    known = {token.content for token in added}
    names = _read_names(config, backend.padding)
    if not _is_usual(config, {repr(token) for token in added}) or not known.issuperset(extra):
        return None
    texts = {name: t if isinstance(t, str) else t["content"] for name, t in names.items()}
    if any(texts[name] not in known for name, t in names.items() if not isinstance(t, str)):
        return None
    backend.encode_special_tokens = config.get("split_special_tokens", False)
    return FastTokenizer(backend, texts, extra, load_whole)


def _read_json(path: Path | None) -> dict[str, Any]:
    """What one of the tokenizer's files says; nothing where there is none."""
    content = {} if path is None else read_json(path, LARGEST_CONFIG)
    if not isinstance(content, dict):
        raise ModelError(f"{path.name if path else ''} holds no object")
    return content


def _read_names(
    config: Mapping[str, Any], padding: Mapping[str, Any] | None
) -> dict[str, str | Mapping[str, Any]]:
    """The tokens that have names, each as text or as a mapping with its ``content``."""
    all_names = {"pad_token": padding["pad_token"], **config} if padding else config
    return {name: all_names[name] for name in _NAMES if all_names.get(name) is not None}


def _is_usual(config: Mapping[str, Any], added: Set[str]) -> bool:
    """Whether transformers would make nothing more of these settings than we do.

    Args:
        added: how the tokens that tokenizer.json adds are described.
    """
    from tokenizers import AddedToken

    if {"fast_tokenizer_files", "fix_mistral_regex"} & set(config):
        return False
    if any(
        name.endswith("_token") and name not in _NAMES and isinstance(token, (str, dict))
        for name, token in config.items()
    ):
        return False  # a name of the model's own
    listed = config.get("added_tokens_decoder", {}).values()
    if not all(key.isidentifier() for token in listed for key in token):
        raise ModelError("tokenizer_config.json has added tokens with names that are no fields")
    return all(repr(AddedToken(**token)) in added for token in listed)
