"""Tokenizers of both sorts that grammars must live with: one token per word, and byte pairs as
GPT-2's.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from circuitgraph.models import tokenizer as ours


def word_level(words: Iterable[str]) -> ours.Tokenizer:
    """One token per word or run of signs; spaces are ignored, and a number of four digits is two
    tokens.
    """
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["<unk>", *words]))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    years = pre_tokenizers.Split(Regex(r"(?<=\d\d)(?=\d\d)"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), years])
    return ours.Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))  # noqa: S106


def byte_pairs(*texts: str) -> ours.Tokenizer:
    """Byte-level BPE: words that occur in the texts, as they occur there, are one token; all others
    split.

    Earlier texts are more frequent, so that their words are merged before those of later ones.
    """
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(  # pyright: ignore[reportCallIssue]  (its arguments are untyped)
        vocab_size=20_000,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    weighted = [text for i, text in enumerate(texts) for _ in range(2 * 4 ** (len(texts) - 1 - i))]
    backend.train_from_iterator(weighted, trainer)
    return ours.Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
