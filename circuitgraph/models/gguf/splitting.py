"""How text is cut into words before bytes are merged, by the name that a GGUF file gives it.

The names are llama.cpp's (``tokenizer.ggml.pre``), the rules those of the original tokenizers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circuitgraph.errors import ModelError

# What follows the words in all of these: punctuation, line breaks, spaces.
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CL100K = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Splitting:
    """One way to cut text into words.

    Attributes:
        words: regular expression of one word; None for GPT-2's own.
        single_digits: whether each digit is cut off first.
        composes: whether letters and their accents are put together first (NFC).
        ignores_merges: whether a word that is a token stays whole, whatever its merges.
        adds_bos: whether BOS stands before a text where the file does not say.
    """

    words: str | None = None
    single_digits: bool = False
    composes: bool = False
    ignores_merges: bool = False
    adds_bos: bool = False

    def make_steps(self) -> tuple[Any, Any]:
        """The normalizer, None for none, and the pre-tokenizer."""
        from tokenizers import Regex, normalizers, pre_tokenizers

        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.words is None)
        steps: list[Any] = [byte_level]
        if self.words is not None:
            steps.insert(0, pre_tokenizers.Split(Regex(self.words), "isolated"))
        if self.single_digits:
            steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
        return normalizers.NFC() if self.composes else None, pre_tokenizers.Sequence(steps)


_LLAMA3 = Splitting(_CL100K, ignores_merges=True, adds_bos=True)
_SPLITTINGS = {
    "gpt-2": Splitting(),
    "smollm": Splitting(single_digits=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "dbrx": Splitting(_CL100K),
    "smaug-bpe": Splitting(_CL100K, ignores_merges=True),
    "qwen2": Splitting(_QWEN2, composes=True),
    "deepseek-r1-qwen": Splitting(_QWEN2, composes=True),
    "gpt-4o": Splitting(_O200K),
}


def find_splitting(model: str, name: Any) -> Splitting:
    """The splitting of this name.

    Raises:
        ModelError: it is not known, or the file does not say it.
    """
    if not isinstance(name, str) or name not in _SPLITTINGS:
        said = f"has tokenizer.ggml.pre = {name!r}" if name is not None else "does not say"
        raise ModelError(
            f"How the tokenizer of {model!r} cuts text into words is not known: the file {said}. "
            f"Known are {', '.join(_SPLITTINGS)}."
        )
    return _SPLITTINGS[name]
