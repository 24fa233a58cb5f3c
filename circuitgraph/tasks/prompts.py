"""What a task hands out: pairs of a clean and a corrupted prompt, as text and as tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

Split = Literal["discovery", "evaluation"]
SPLITS: tuple[Split, ...] = ("discovery", "evaluation")


@runtime_checkable
class TokenizerLike(Protocol):
    """What a task needs of a tokenizer: no token is added that is not in the text."""

    unknown_id: int | None
    special_ids: frozenset[int]

    def encode(self, text: str) -> list[int]: ...
    def encode_all(self, texts: Sequence[str]) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def vocabulary(self) -> list[int]: ...


@dataclass(frozen=True)
class Pair:
    """One prompt and its corrupted counterpart, as text.

    Attributes:
        answer: what should follow the clean prompt; one token, with its leading space if it has
            one.
        distractor: what follows the corrupted prompt, or another wrong answer; one token, or None.
        roles: token position of each role in the clean prompt.
        right, wrong: where more than one token is right: all right answers, ``answer`` among them,
            and all wrong answers.
    """

    clean: str
    corrupted: str
    answer: str
    distractor: str | None = None
    roles: Mapping[str, int] = field(default_factory=dict, hash=False)
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompts:
    """A batch of tokenised pairs, padded on the right to one length.

    Attributes:
        mask: True on real tokens; clean and corrupted have equal lengths, so one mask serves both.
        score_at: the position whose logits are scored: the last real token.
        answer: token id of each answer.
        distractor: token id of each distractor, or None if the pairs have none.
        pairs: the texts.
        right, wrong: token ids of all right and all wrong answers, filled up with -1; None if the
            pairs name none.
    """

    clean: Int[np.ndarray, "batch pos"]
    corrupted: Int[np.ndarray, "batch pos"]
    mask: Bool[np.ndarray, "batch pos"]
    score_at: Int[np.ndarray, " batch"]
    answer: Int[np.ndarray, " batch"]
    distractor: Int[np.ndarray, " batch"] | None
    pairs: tuple[Pair, ...]
    right: Int[np.ndarray, "batch right"] | None = None
    wrong: Int[np.ndarray, "batch wrong"] | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens and answers."""
        digest = hashlib.sha256()
        # Records name this hash: neither the order nor the width of the numbers may change.
        for array in (self.clean, self.corrupted, self.mask, self.answer, self.distractor):
            digest.update(b"none" if array is None else _to_bytes(array))
        for array in (self.right, self.wrong):
            if array is not None:
                digest.update(_to_bytes(array))
        return digest.hexdigest()


def _to_bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).astype(np.int64).tobytes()


def assign_split(tokens: Sequence[int]) -> Split:
    """The split that a clean prompt belongs to: a coin that depends on its tokens only.

    So no seed, no longer file and no other source ever judges a circuit on prompts that it was
    searched with.
    """
    return SPLITS[hashlib.sha256(np.asarray(tokens, np.int64).tobytes()).digest()[0] % 2]
