"""What a task hands out: pairs of a clean and a corrupted prompt, as text and as tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.models.tokenizer import Bos

Split = Literal["discovery", "evaluation"]
SPLITS: tuple[Split, ...] = ("discovery", "evaluation")


@runtime_checkable
class TokenizerLike(Protocol):
    """What a task needs of a tokenizer: no token is added that is not in the text.

    Attributes:
        prefix: the tokens that stand before every prompt (`encode_pair` puts them there).
    """

    unknown_id: int | None
    special_ids: frozenset[int]
    prefix: tuple[int, ...]

    def encode(self, text: str) -> list[int]: ...
    def encode_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def encode_answer(self, prompt: str, answer: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def decode_answer(self, token: int) -> str: ...
    def with_bos(self, bos: Bos) -> TokenizerLike: ...
    def render_chat(self, text: str) -> str: ...
    def vocabulary(self) -> list[int]: ...


@dataclass(frozen=True)
class PairTokens:
    """A pair as tokens: what the model reads and what its logits are compared with.

    Attributes:
        answer, distractor: the tokens of each; empty where there is none.
        right, wrong: one token for each of several right and wrong answers.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answer: tuple[int, ...] = ()
    distractor: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pair:
    """One prompt and its corrupted counterpart, as text.

    Attributes:
        corrupted: None where the prompt has no counterpart: then only ablations can be used that
            need none.
        answer: what should follow the clean prompt, with its leading space if it has one; most
            often one token. None where nothing is known: then only metrics can be used that
            compare with the whole model, or with the prompt's own next tokens (``score_at``).
        distractor: what follows the corrupted prompt, or another wrong answer; as many tokens as
            the answer has, or None.
        roles: token position of each role in the clean prompt.
        right, wrong: where more than one token is right: all right answers, ``answer`` among them,
            and all wrong answers.
        score_at: positions in the clean prompt whose logits are scored; None for the last alone.
            With several, the answer of each is the prompt's own next token.
        tokens: given where the pair was written as token ids; else the tokenizer makes them.
    """

    clean: str
    corrupted: str | None
    answer: str | None
    distractor: str | None = None
    roles: Mapping[str, int] = field(default_factory=dict, hash=False)
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    score_at: tuple[int, ...] | None = None
    tokens: PairTokens | None = None


@dataclass(frozen=True)
class Prompts:
    """A batch of tokenised pairs, padded on the right to one length.

    Attributes:
        corrupted: None where the pairs have no counterparts.
        mask: True on real tokens; clean and corrupted have equal lengths, so one mask serves both.
        score_at: the position whose logits are scored, or several of each prompt.
        answer: token id of each answer, at each scored position; None if the pairs have none.
        distractor: token id of each distractor, or None if the pairs have none.
        pairs: the texts.
        right, wrong: token ids of all right and all wrong answers, filled up with -1; None if the
            pairs name none.
        scores: what several scored positions are: the tokens of one answer, or positions whose
            mean counts; None where one is scored.
        weights: what each scored position counts: 1 for each token of an answer, one divided by
            their number for positions; 0 for what fills up.
    """

    clean: Int[np.ndarray, "batch pos"]
    corrupted: Int[np.ndarray, "batch pos"] | None
    mask: Bool[np.ndarray, "batch pos"]
    score_at: Int[np.ndarray, "batch *scored"]
    answer: Int[np.ndarray, "batch *scored"] | None
    distractor: Int[np.ndarray, "batch *scored"] | None
    pairs: tuple[Pair, ...]
    right: Int[np.ndarray, "batch right"] | None = None
    wrong: Int[np.ndarray, "batch wrong"] | None = None
    scores: Literal["tokens", "positions"] | None = None
    weights: Float[np.ndarray, "batch scored"] | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def n_scored(self) -> int:
        """Scored positions of each prompt, those that fill up among them."""
        return self.score_at.size // len(self.score_at)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens, the answers and what is scored."""
        digest = hashlib.sha256()
        # Records name this hash: neither the order nor the width of the numbers may change.
        for array in (self.clean, self.corrupted, self.mask, self.answer, self.distractor):
            digest.update(b"none" if array is None else _to_bytes(array))
        for array in (self.right, self.wrong):
            if array is not None:
                digest.update(_to_bytes(array))
        last = self.mask.sum(axis=1) - 1
        if self.weights is not None or (self.score_at != last).any():
            digest.update(_to_bytes(self.score_at))
        return digest.hexdigest()


def encode_clean(pair: Pair, tokenizer: TokenizerLike) -> tuple[int, ...]:
    """The tokens of a pair's clean prompt, with the tokenizer's prefix."""
    if pair.tokens is not None:
        return pair.tokens.clean
    return (*tokenizer.prefix, *tokenizer.encode(pair.clean))


def encode_answer(
    prompt: str, answer: str, tokenizer: TokenizerLike, *, in_text: bool = False
) -> list[int]:
    """The tokens of an answer: those by which the text goes on after the prompt.

    An answer that is no token there, but by itself the same token as with a space in front, is
    taken as written with its space: for many tokenizers "lamp" and " lamp" are one.

    Args:
        in_text: give no token where the answer would change the prompt's own tokens. Else it is
            then the one token that it is by itself (" 12" and "00", though " 1200" may be a token).
    """
    ids = tokenizer.encode_answer(prompt, answer)
    if len(ids) == 1 and ids[0] != tokenizer.unknown_id:
        return ids
    alone = tokenizer.encode(answer)
    if len(alone) != 1 or alone[0] == tokenizer.unknown_id:
        return ids
    if tokenizer.encode_answer(prompt, f" {answer.strip()}") == alone or not (ids or in_text):
        return alone
    return ids


def encode_pair(pair: Pair, tokenizer: TokenizerLike) -> PairTokens:
    """The tokens of a pair: prompts with the tokenizer's prefix, answers by `encode_answer`."""
    if pair.tokens is not None:
        return pair.tokens
    corrupted = ()
    if pair.corrupted is not None:
        corrupted = (*tokenizer.prefix, *tokenizer.encode(pair.corrupted))
    answer, distractor = (
        () if text is None else tuple(encode_answer(pair.clean, text, tokenizer))
        for text in (pair.answer, pair.distractor)
    )
    right, wrong = (
        [encode_answer(pair.clean, text, tokenizer) for text in texts]
        for texts in (pair.right, pair.wrong)
    )
    return PairTokens(
        clean=encode_clean(pair, tokenizer),
        corrupted=corrupted,
        answer=answer,
        distractor=distractor,
        right=tuple(ids[0] for ids in right if len(ids) == 1),
        wrong=tuple(ids[0] for ids in wrong if len(ids) == 1),
    )


def quote_tokens(ids: Sequence[int], tokenizer: TokenizerLike) -> str:
    """Each token by itself, in quotes, with spaces between them."""
    return " ".join(repr(tokenizer.decode([token])) for token in ids)


def _to_bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).astype(np.int64).tobytes()


def assign_split(tokens: Sequence[int]) -> Split:
    """The split that a clean prompt belongs to: a coin that depends on its tokens only.

    So no seed, no longer file and no other source ever judges a circuit on prompts that it was
    searched with.
    """
    return SPLITS[hashlib.sha256(np.asarray(tokens, np.int64).tobytes()).digest()[0] % 2]
