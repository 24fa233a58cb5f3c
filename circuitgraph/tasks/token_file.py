"""A file of tokens as sequences to train on, with some kept apart; however large the file is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from circuitgraph.errors import DataError, check_between, check_choice
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.tokenizer import Bos
from circuitgraph.progress import Progress, show_progress
from circuitgraph.tasks.loading import BOS_CHOICES
from circuitgraph.tasks.prompts import Pair, PairTokens, Prompts, TokenizerLike
from circuitgraph.tasks.token_documents import Document, Documents, Place, open_documents
from circuitgraph.tasks.tokenise import pad_rows

Tokens = tuple[int, ...]
N_CONTEXT = 128
N_JUDGED = 200
_ONE_IN = 8  # sequences, of which one is kept apart
_BETWEEN_MARKS = 2**16  # tokens


@dataclass(frozen=True)
class TokenFile:
    """The sequences of a file: those to train on, in order, and some that are kept apart.

    Which are kept apart depends on their tokens alone, so that no sequence is on both sides.

    Attributes:
        context: tokens of a sequence, at most.
        n_sequences, n_tokens: to train on.
        judged: sequences that are kept apart, at most `N_JUDGED`, spread over the file.
        sha256: of the file.
        marks: places in the file, each with the number of tokens to train on before it.
    """

    documents: Documents
    tokenizer: TokenizerLike
    context: int
    n_sequences: int
    n_tokens: int
    judged: tuple[Tokens, ...]
    sha256: str
    marks: tuple[tuple[Place, int], ...]

    def read_sequences(self, start: int, stop: int) -> tuple[list[Tokens], int]:
        """The sequences that hold the tokens to train on from ``start`` to ``stop``.

        Returns:
            the sequences, and how many tokens of the first one come before ``start``.
        """
        place, at = max((mark for mark in self.marks if mark[1] <= start), key=lambda m: m[1])
        sequences: list[Tokens] = []
        skip = 0
        for document in self.documents.read(place):
            for tokens in cut_document(document, self.context, self.tokenizer.prefix):
                if at >= stop:
                    return sequences, skip
                if is_kept_apart(tokens):
                    continue
                if at + len(tokens) > start:
                    skip = skip if sequences else start - at
                    sequences.append(tokens)
                at += len(tokens)
        return sequences, skip

    def make_judged_prompts(self) -> Prompts:
        """The sequences that are kept apart, as prompts without counterparts and answers."""
        clean, mask = pad_sequences(self.judged, max(map(len, self.judged)))
        texts = [self.tokenizer.decode(tokens) for tokens in self.judged]
        pairs = tuple(
            Pair(text, None, None, tokens=PairTokens(tokens, ()))
            for text, tokens in zip(texts, self.judged, strict=True)
        )
        last = mask.sum(axis=1).astype(np.int32) - 1
        return Prompts(clean, None, mask, last, None, None, pairs)


def open_token_file(
    path: str | Path,
    model: LanguageModel,
    *,
    context: int | None = None,
    bos: Bos | None = None,
    limit: int | None = None,
    bar: bool = False,
) -> TokenFile:
    """Read a file of tokens once from end to end: check it, count it, and keep some apart.

    Args:
        path: a text (``.txt``); JSON lines (``.jsonl``) of texts or of token ids; or an array of
            ids, ``[n_sequences, length]`` (``.npy``, ``.safetensors``).
        context: documents are cut into sequences of that many tokens; `N_CONTEXT`, or the model's
            own if that is smaller, if None.
        bos: whether BOS stands before every sequence of a text: as of `load_task`. Nothing is put
            before ids that the file holds.
        limit: sequences to train on; all, if None.

    Raises:
        ArgumentError: a context that the model does not have.
        DataError: a file that cannot be read, an id that the model does not have, or too few
            sequences.
    """
    n_ctx = model.spec.n_ctx
    if bos is not None:
        check_choice("bos", bos, BOS_CHOICES)
    tokenizer = model.text_tokenizer.with_bos(bos or "auto")
    context = min(N_CONTEXT, n_ctx) if context is None else context
    check_between("context", context, 2 + len(tokenizer.prefix), n_ctx)
    documents = open_documents(Path(path).expanduser(), tokenizer)
    scan = _Scan(context, tokenizer.prefix, model.spec.d_vocab, limit)
    with show_progress(documents.size, "reading the file", documents.unit, bar=bar) as progress:
        scan.read(documents, progress)
    if scan.n_tokens == 0 or len(scan.judged) < 2:
        raise DataError(
            f"The file {str(path)!r} is too small. Of its sequences of {context} tokens, "
            f"{scan.n_sequences:,} are to be trained on and {len(scan.judged)} to be judged on, as "
            f"by a coin that keeps one of {_ONE_IN} apart, but two are needed for that: add text, "
            "or use a smaller context or a higher limit."
        )
    with documents.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    judged = tuple(tokens for _, tokens in sorted(scan.judged.items())[:N_JUDGED])
    counts = scan.n_sequences, scan.n_tokens
    return TokenFile(documents, tokenizer, context, *counts, judged, digest, tuple(scan.marks))


class _Scan:
    """The first reading of a file."""

    def __init__(self, context: int, prefix: Tokens, d_vocab: int, limit: int | None) -> None:
        self._cut = context, prefix
        self._d_vocab, self._limit = d_vocab, limit
        self.n_sequences, self.n_tokens = 0, 0
        self.judged: dict[bytes, Tokens] = {}
        self.marks: list[tuple[Place, int]] = []

    def read(self, documents: Documents, progress: Progress) -> None:
        """Read the documents up to the limit."""
        self.marks.append((documents.start, 0))
        for document in documents.read(documents.start):
            self._check_ids(documents, document)
            if self.n_tokens - self.marks[-1][1] >= _BETWEEN_MARKS:
                self.marks.append((document.place, self.n_tokens))
            for tokens in cut_document(document, *self._cut):
                if self.n_sequences == self._limit:
                    return
                self._add_sequence(tokens)
            progress.advance(document.end.at - document.place.at)

    def _add_sequence(self, tokens: Tokens) -> None:
        if not is_kept_apart(tokens):
            self.n_sequences += 1
            self.n_tokens += len(tokens)
            return
        self.judged[_hash_tokens(tokens)] = tokens
        if len(self.judged) >= 2 * N_JUDGED:  # the lowest hashes are a sample of the whole file
            self.judged = dict(sorted(self.judged.items())[:N_JUDGED])

    def _check_ids(self, documents: Documents, document: Document) -> None:
        ids = document.ids
        if ids and not (min(ids) >= 0 and max(ids) < self._d_vocab):
            wrong = next(token for token in ids if not 0 <= token < self._d_vocab)
            where = f"{documents.unit.capitalize()} {document.place.number}"
            raise DataError(
                f"{where} of {str(documents.path)!r} holds the token id {wrong}, but the model has "
                f"ids from 0 to {self._d_vocab - 1:,}: they are another model's."
            )


def cut_document(document: Document, context: int, prefix: Tokens) -> Iterator[Tokens]:
    """A document's sequences: each begins with the prefix where it is text.

    A rest of one token, which has no next one, is left out.
    """
    before = prefix if document.is_text else ()
    size = context - len(before)
    for start in range(0, len(document.ids), size):
        tokens = (*before, *document.ids[start : start + size])
        if len(tokens) > 1:
            yield tokens


def is_kept_apart(tokens: Tokens) -> bool:
    """Whether a sequence is for judging: a coin that depends on its tokens only."""
    return _hash_tokens(tokens)[0] % _ONE_IN == 1  # odd: for judging by `assign_split` too


def pad_sequences(
    sequences: Sequence[Tokens], length: int
) -> tuple[Int[np.ndarray, "sequences length"], Bool[np.ndarray, "sequences length"]]:
    """Sequences padded on the right to one length, and a mask that is True on their tokens."""
    mask = np.arange(length)[None] < np.array([len(each) for each in sequences])[:, None]
    return pad_rows(sequences, mask), mask


def _hash_tokens(tokens: Tokens) -> bytes:
    return hashlib.sha256(np.asarray(tokens, np.int64).tobytes()).digest()
