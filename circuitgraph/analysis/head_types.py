"""Head types: which heads look at the previous token, at a copy, or at what followed a copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads, list_heads, look_at_keys, rank_heads
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.tokenizer import Bos

TYPES = ("previous-token", "duplicate-token", "induction")
THRESHOLD = 0.4
_LENGTH, _SHORTEST = 25, 3  # tokens that are repeated


@dataclass(frozen=True)
class TypeScores:
    """How much every head looks where each of `TYPES` looks, on random tokens.

    Attributes:
        repeated: where the tokens are repeated, [layers, heads, types, sequences].
        single: the same places where they are not: what a head takes by position alone.
        even: what a head takes that looks at all tokens alike, [layers, types].
        length: tokens that are repeated.
    """

    repeated: Float[np.ndarray, "layers heads types sequences"]
    single: Float[np.ndarray, "layers heads types sequences"]
    even: Float[np.ndarray, "layers types"]
    length: int

    @property
    def evidence(self) -> Float[np.ndarray, "layers heads types"]:
        """What names a head: its score, less what it would take without a repetition."""
        gain = (self.repeated - self.single).mean(3)
        gain[:, :, 0] = self.repeated[:, :, 0].mean(2)  # the previous token needs no repetition
        return gain

    def name_heads(self, threshold: float = THRESHOLD) -> dict[str, str]:
        """The types of each head whose evidence reaches the threshold, by the head's name."""
        named = {}
        for (layer, head), name in list_heads(self.evidence.shape[:2]):
            reached = self.evidence[layer, head] >= threshold
            if reached.any():
                named[name] = ", ".join(np.array(TYPES)[reached])
        return named


@analysis(
    "head-types",
    source="Elhage et al. 2021, Olsson et al. 2022",
    cannot_tell="what a head writes, and whether anything reads it: a head that looks where an "
    "induction head looks may copy nothing, and on text it may do other things besides.",
)
def read_head_types(
    model: LanguageModel,
    *,
    length: int | None = None,
    n_sequences: int = 32,
    threshold: float = THRESHOLD,
    top: int = 5,
    bos: Bos = "auto",
    seed: int = 0,
) -> Reading:
    """Which heads look at the previous token, at the earlier copy of their token (duplicate-token)
    and at what followed it (induction), on random tokens that are repeated.

    Args:
        length: how many different tokens are repeated; by default 25, or what the context and the
            vocabulary allow.
        n_sequences: how many sequences.
        threshold: the evidence from which on a head has the name of a type.
        top: how many heads to show of each type.
        bos: what stands before the tokens: what the tokenizer puts there, BOS, or nothing.
        seed: of the tokens.

    Raises:
        ModelError: BOS, but the tokenizer has none.
        ArgumentError: a length that does not fit, or a model that reads too few tokens for any.
    """
    check_at_least("top", top, 1)
    scores = measure_types(model, length, n_sequences, seed, bos)
    tables = [_make_table(scores, number, top, threshold) for number in range(len(TYPES))]
    pictures = [
        draw_heads(f"{name}: share of a head's look", "attention", scores.repeated[:, :, i].mean(2))
        for i, name in enumerate(TYPES)
    ]
    note = (
        f"{n_sequences} sequences of {scores.length} different random tokens, twice; scores are "
        "means over the second copy. Evidence is the score less what the head takes of the same "
        "places where the first copy is of other tokens; of previous-token it is the score."
    )
    return Reading(tables=tables, pictures=pictures, notes=[note])


def measure_types(
    model: LanguageModel,
    length: int | None = None,
    n_sequences: int = 32,
    seed: int = 0,
    bos: Bos = "auto",
) -> TypeScores:
    """Run repeated tokens, and the same without repetition; arguments as of `read_head_types`."""
    check_at_least("n_sequences", n_sequences, 1)
    check_at_least("seed", seed, 0)
    tokens, prefix = _list_tokens(model), model.text_tokenizer.with_bos(bos).prefix
    length = _choose_length(model, model.spec.n_ctx - len(prefix), len(tokens), length)
    rng = np.random.default_rng(seed)
    # different tokens, so that each copy has one place: [sequences, 2 length]
    drawn = np.array([rng.choice(tokens, 2 * length, replace=False) for _ in range(n_sequences)])
    others, once = drawn[:, :length], drawn[:, length:]
    before = np.broadcast_to(np.array(prefix, np.int64), (n_sequences, len(prefix)))
    repeated, even = _measure_looks(model, np.concatenate([before, once, once], 1), length)
    single, _ = _measure_looks(model, np.concatenate([before, others, once], 1), length)
    return TypeScores(repeated, single, even.mean(2), length)


def _measure_looks(
    model: LanguageModel, tokens: Int[np.ndarray, "sequences pos"], length: int
) -> tuple[
    Float[np.ndarray, "layers heads types sequences"], Float[np.ndarray, "layers types sequences"]
]:
    """What heads take at the last ``length`` tokens of each sequence, means over these queries."""
    n_pos = tokens.shape[1]
    queries = np.broadcast_to(np.arange(n_pos - length, n_pos), (len(tokens), length))
    back = np.array([1, length, length - 1])  # as in `TYPES`
    keys = queries - back[:, None, None]
    share, even = look_at_keys(model, tokens, np.ones(tokens.shape, bool), queries, keys)
    return share.mean(-1), even.mean(-1)


def _list_tokens(model: LanguageModel) -> list[int]:
    """Ordinary tokens that the model reads."""
    tokenizer, spec = model.text_tokenizer, model.spec
    unwanted = {tokenizer.unknown_id, spec.unseen_token}
    return [t for t in tokenizer.vocabulary() if t < spec.d_vocab and t not in unwanted]


def _choose_length(model: LanguageModel, room: int, n_tokens: int, length: int | None) -> int:
    """Tokens to repeat; ``room``: positions that there are for them."""
    longest = min(room // 2, n_tokens // 2)
    if longest < _SHORTEST:
        raise ArgumentError(
            f"{model.name!r} reads {room} tokens at a time and has {n_tokens} ordinary ones: too "
            f"few to repeat {_SHORTEST} different tokens, and as many others for comparison."
        )
    if length is None:
        return min(_LENGTH, longest)
    return check_between("length", length, _SHORTEST, longest)


def _make_table(scores: TypeScores, number: int, top: int, threshold: float) -> TableRecord:
    evidence = scores.evidence[:, :, number]
    rows: list[list[Cell]] = []
    for (layer, head), name in rank_heads(evidence, top):
        rows.append(
            [
                name,
                estimate_cell(scores.repeated[layer, head, number]),
                estimate_cell(scores.single[layer, head, number]),
                float(scores.even[layer, number]),
                bool(evidence[layer, head] >= threshold),
            ]
        )
    return TableRecord(
        title=f"{TYPES[number]} heads: share of the look, 95 % intervals over sequences; named "
        f"where the evidence is {threshold:g} or more",
        columns=["head", "score", "without repetition", "looking evenly", "named"],
        rows=rows,
    )
