"""The tokenizer in a GGUF file: its vocabulary, merges and splitting rules as tokenizers has them.

Two kinds are known, by ``tokenizer.ggml.model``: ``gpt2``, pairs of bytes merged in the order of a
list, and ``llama``, the pieces of sentencepiece merged in the order of their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from circuitgraph.errors import ModelError, first_line
from circuitgraph.models.fast_tokenizer import FastTokenizer
from circuitgraph.models.gguf.header import GgufHeader
from circuitgraph.models.gguf.splitting import find_splitting
from circuitgraph.models.tokenizer import Tokenizer

_PREFIX = "tokenizer.ggml."
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # what tokenizer.ggml.token_type says of a token
_SPACE = "\u2581"  # sentencepiece's
_NAMES = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}


def read_gguf_tokenizer(header: GgufHeader) -> Tokenizer | None:
    """The tokenizer of a GGUF file; None if it has none.

    Raises:
        ModelError: the file has a tokenizer of a kind that is not known, or a broken one.
    """
    rules = {
        key.removeprefix(_PREFIX): value
        for key, value in header.metadata.items()
        if key.startswith(_PREFIX)
    }
    kind = rules.get("model", "none")
    if kind == "none":
        return None
    if kind not in _BUILDERS:
        raise ModelError(
            f"{header.name!r} has a tokenizer of the kind {kind!r}; known are "
            f"{', '.join(_BUILDERS)}."
        )
    try:
        return _make_tokenizer(header, rules, _BUILDERS[kind](header, rules))
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises plain exceptions
        raise ModelError(
            f"The tokenizer in {header.name!r} cannot be read: {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error


def _make_tokenizer(header: GgufHeader, rules: Mapping[str, Any], backend: Any) -> Tokenizer:
    """The tokenizer with its special tokens, and BOS or EOS around a text if the file says so."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing

    tokens = rules["tokens"]
    for kind, is_special in ((_CONTROL, True), (_USER_DEFINED, False)):
        names = _list_tokens(rules, kind)
        backend.add_tokens([AddedToken(t, normalized=False, special=is_special) for t in names])
    special = {f"{name}_token": tokens[rules[key]] for name, key in _NAMES.items() if key in rules}
    around = {name: rules.get(f"add_{name}_token", False) for name in ("bos", "eos")}
    before, after = (special[f"{name}_token"] if around[name] else "" for name in around)
    if before or after:
        backend.post_processor = TemplateProcessing(
            single=f"{before} $A {after}".split(),
            special_tokens=[(t, tokens.index(t)) for t in {before, after} - {""}],
        )
    template = header.metadata.get("tokenizer.chat_template")

    def load_whole() -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **special)

    inner = FastTokenizer(backend, special, load_whole=load_whole if template else None)
    if len(inner) > len(tokens):
        raise ModelError(f"The tokenizer in {header.name!r} has special tokens without an id.")
    return Tokenizer(inner)


def _list_tokens(rules: Mapping[str, Any], kind: int) -> list[str]:
    """The tokens of one type, in the order of their ids."""
    types = rules.get("token_type", ())
    return [token for token, its in zip(rules["tokens"], types, strict=False) if its == kind]


def _build_byte_level(header: GgufHeader, rules: dict[str, Any]) -> Any:
    """Byte-level pairs, as in GPT-2 and most models since."""
    from tokenizers import Tokenizer as Backend
    from tokenizers.decoders import ByteLevel
    from tokenizers.models import BPE

    splitting = find_splitting(header.name, rules.get("pre"))
    rules.setdefault("add_bos_token", splitting.adds_bos)
    vocab = {token: i for i, token in enumerate(rules["tokens"])}
    merges = [tuple(merge.split(" ", 1)) for merge in rules["merges"]]
    backend = Backend(BPE(vocab, merges, ignore_merges=splitting.ignores_merges))
    backend.normalizer, backend.pre_tokenizer = splitting.make_steps()
    backend.decoder = ByteLevel()
    return backend


def _build_sentencepiece(header: GgufHeader, rules: dict[str, Any]) -> Any:
    """Pieces of sentencepiece, with bytes for what no piece spells."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, normalizers
    from tokenizers.models import BPE

    rules.setdefault("add_bos_token", True)  # as llama.cpp does
    tokens = rules["tokens"]
    # The pieces of a Gemma are in the order of their merges, whatever scores they have.
    is_ordered = header.metadata["general.architecture"].startswith("gemma")
    scores = range(0, -len(tokens), -1) if is_ordered else rules["scores"].tolist()
    unknown = rules.get("unknown_token_id")
    backend = Backend(
        BPE(
            {token: i for i, token in enumerate(tokens)},
            _list_merges(tokens, scores, set(_list_tokens(rules, _NORMAL))),
            unk_token=None if unknown is None else tokens[unknown],
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    steps: list[Any] = [normalizers.Replace(" ", _SPACE)]
    undoing: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if rules.get("add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(_SPACE))
        undoing.append(decoders.Strip(" ", 1, 0))
    backend.normalizer = normalizers.Sequence(steps)
    backend.decoder = decoders.Sequence(undoing)
    return backend


def _list_merges(
    tokens: Sequence[str], scores: Sequence[float], normal: set[str]
) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece; pairs of the best piece first.

    sentencepiece has no list of merges: of all neighbours it merges those whose piece has the best
    score.
    """
    pairs = [
        (-score, len(token[:cut]), token[:cut], token[cut:])
        for token, score in zip(tokens, scores, strict=True)
        if token in normal
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    ]
    return [(first, second) for _, _, first, second in sorted(pairs)]


_BUILDERS = {"gpt2": _build_byte_level, "llama": _build_sentencepiece}
