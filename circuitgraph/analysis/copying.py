"""Copying heads: whether a head raises the logits of the tokens that it looks at."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import draw_heads, rank_heads
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.readings.copying import run_copying
from circuitgraph.engine.readings.head_matrices import TokensAs, list_approximations
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec

_NEAR = 10  # a token copies itself that is among so many that it raises most


@analysis(
    "copying",
    source="Elhage et al. 2021",
    cannot_tell="what a head copies when it runs: it looks at streams, not at single tokens, and "
    "what it writes may be changed by later layers before it is read.",
)
def read_copying(
    model: LanguageModel,
    *,
    read: TokensAs = "embedding",
    n_tokens: int = 200,
    top: int = 10,
    seed: int = 0,
) -> Reading:
    """Whether heads raise the logits of the tokens they look at: the eigenvalues of each head's
    output-value circuit from embedding to unembedding, and how often a token raises itself most.

    Args:
        read: what stands for a token: its embedding, or that with what the first MLP makes of it.
        n_tokens: how many random tokens are asked whether they raise themselves.
        top: how many heads to show, those that copy most and those that copy least.
        seed: of the tokens.

    Raises:
        ArgumentError: a model that does not predict the tokens that it reads.
    """
    check_same_tokens(model)
    check_at_least("n_tokens", n_tokens, 1)
    check_at_least("top", top, 1)
    check_at_least("seed", seed, 0)
    rng, n_vocab = np.random.default_rng(seed), model.spec.d_vocab
    tokens = rng.choice(n_vocab, min(n_tokens, n_vocab), replace=False).astype(np.int32)
    run = run_copying(model.transformer, tokens, read)
    shares = share_positive(np.linalg.eigvals(np.asarray(run.cores, np.float64)))
    copied = (np.asarray(run.ranks) < _NEAR).astype(np.float64)
    chance = min(1.0, _NEAR / n_vocab)
    ranked = rank_heads(shares, int(np.isfinite(shares).sum()))  # without heads of zeros
    return Reading(
        tables=[
            _make_table("most", ranked[:top], shares, copied, chance),
            _make_table("least", ranked[::-1][:top], shares, copied, chance),
        ],
        pictures=[draw_heads("Copying: sum of eigenvalues over sum of sizes", "share", shares)],
        notes=[
            "1: all eigenvalues positive, the head copies; -1: it lowers what it looks at; random "
            "matrices are near 0.",
            *describe_tokens(model.spec, read),
            *list_approximations(model.spec, queries=False),
        ],
    )


def share_positive(
    eigenvalues: Complex[np.ndarray, "*axes n"] | Float[np.ndarray, "*axes n"],
) -> Float[np.ndarray, "*axes"]:
    """Sum of eigenvalues over the sum of their sizes, NaN where all are zero; between -1 and 1."""
    sizes = np.abs(eigenvalues).sum(-1)
    with np.errstate(invalid="ignore"):
        return np.where(sizes > 0, eigenvalues.sum(-1).real / sizes, np.nan)


def check_same_tokens(model: LanguageModel) -> None:
    """Refuse a model whose logits are of other things than the tokens that it reads."""
    spec = model.spec
    if spec.d_vocab != spec.d_vocab_out:
        raise ArgumentError(
            f"{model.name!r} reads {spec.d_vocab} tokens and predicts {spec.d_vocab_out} others: "
            "no head can copy a token into its logits."
        )


def describe_tokens(spec: Spec, read: TokensAs) -> list[str]:
    """What stands for a token, where that is not the model's whole input."""
    stands = {
        "embedding": "A token is its embedding",
        "first-mlp": "A token is its embedding with what the first MLP makes of it",
    }[read]
    place = ", without its position" if spec.learned_positions else ""
    return [f"{stands}{place}, normed by its own size."]


def _make_table(
    which: str,
    heads: list[tuple[tuple[int, int], str]],
    shares: Float[np.ndarray, "layers heads"],
    copied: Float[np.ndarray, "layers heads tokens"],
    chance: float,
) -> TableRecord:
    rows: list[list[Cell]] = [
        [name, float(shares[place]), estimate_cell(copied[place], share=True), chance]
        for place, name in heads
    ]
    return TableRecord(
        title=f"Heads that copy {which}: sum of eigenvalues over sum of their sizes, and share of "
        f"tokens among the {_NEAR} that they raise most",
        columns=["head", "positive", "raise themselves", "by chance"],
        rows=rows,
    )
