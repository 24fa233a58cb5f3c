"""Query-key and output-value circuits of one head, as pairs of tokens."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.copying import describe_tokens
from circuitgraph.analysis.measuring import rank_places
from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.readings.head_matrices import TokensAs
from circuitgraph.engine.readings.token_circuits import (
    TokenVectors,
    run_row_tops,
    run_token_vectors,
)
from circuitgraph.errors import check_between
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec

Tops = tuple[Float[np.ndarray, "rows n_top"], Int[np.ndarray, "rows n_top"]]


@analysis(
    "head-circuits",
    source="Elhage et al. 2021",
    cannot_tell="what the head does on text: there it reads streams to which layers before it have "
    "written, not tokens alone, and where it looks depends on all keys together.",
)
def read_head_circuits(
    model: LanguageModel,
    *,
    head: str,
    offset: int = 1,
    read: TokensAs = "embedding",
    top: int = 10,
) -> Reading:
    """Which pairs of tokens one head connects: by its query-key circuit which token looks at which,
    by its output-value circuit which token raises which logit.

    Args:
        head: its name, as in ``a5.h1``.
        offset: how many positions the query stands after the key, where the model has rotary
            positions; else it changes nothing.
        read: what stands for a token: its embedding, or that with what the first MLP makes of it.
        top: how many pairs to show.

    Raises:
        UnknownNameError: the model has no such head.
        ArgumentError: no head, or an offset beyond the context.
    """
    node = find_head(model, head)
    vectors = read_vectors(model, node, offset, read)
    check_between("top", top, 1, min(model.spec.d_vocab, model.spec.d_vocab_out))
    looks = find_tops(vectors.queries, vectors.keys, top)
    raises = find_tops(vectors.values, vectors.raises, top)
    decode, decode_answer = token_decoders(model)
    n = model.spec.d_vocab
    notes = [
        f"{_share_own(looks):.1%} of tokens look most at themselves, {_share_own(raises):.1%} "
        f"raise themselves most; by chance 1 in {n:,}.",
        *describe_tokens(model.spec, read),
        *describe_scores(model.spec, offset),
    ]
    return Reading(
        tables=[
            _make_table(
                looks,
                "Query-key circuit: the score of a key over the average key",
                ("query", "looks at", "score"),
                (decode, decode),
            ),
            _make_table(
                raises,
                "Output-value circuit: logits over the average token and the average logit, for an "
                "attention of 1",
                ("looked at", "raises", "logit"),
                (decode, decode_answer),
            ),
        ],
        notes=notes,
    )


def read_vectors(model: LanguageModel, node: Node, offset: int, read: TokensAs) -> TokenVectors:
    """What a head makes of each token by itself; arguments as of `read_head_circuits`."""
    check_between("offset", offset, 0, model.spec.n_ctx - 1)
    place = np.int32(node.layer), np.int32(node.index)
    return run_token_vectors(model.transformer, *place, np.int32(offset), read)


def find_tops(
    left: Float[np.ndarray, "rows d"] | Float[Array, "rows d"],
    right: Float[np.ndarray, "columns d"] | Float[Array, "columns d"],
    n_top: int,
) -> Tops:
    """For each row of ``left`` the largest products with rows of ``right``, and whose they are."""
    values, index = run_row_tops(jnp.asarray(left), jnp.asarray(right), n_top)
    return np.asarray(values, np.float64), np.asarray(index)


def token_decoders(model: LanguageModel) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """How tokens that are read, and those that are predicted, are written in tables."""
    tokenizer = model.text_tokenizer
    return lambda i: repr(tokenizer.decode([i])), lambda i: repr(tokenizer.decode_answer(i))


def describe_scores(spec: Spec, offset: int) -> list[str]:
    """What scores and logits are exactly, and what is left out."""
    notes = [
        "Scores are exact for streams of one token alone, norms, biases and clips of queries and "
        "keys included; logits are without the divisor of the last norm."
    ]
    if spec.ropes:
        notes.append(f"Rotary positions: the query stands {offset} after the key.")
    if spec.attn_softcap is not None or spec.logit_softcap is not None:
        notes.append("Soft caps are left out.")
    return notes


def _share_own(tops: Tops) -> float:
    index = tops[1][:, 0]
    return float((index == np.arange(len(index))).mean())


def _make_table(
    tops: Tops,
    title: str,
    columns: tuple[str, str, str],
    decoders: tuple[Callable[[int], str], Callable[[int], str]],
) -> TableRecord:
    values, index = tops
    rows: list[list[Cell]] = []
    for row, rank in rank_places(values, values.shape[1]):
        one, other = decoders[0](row), decoders[1](int(index[row, rank]))
        rows.append([one, other, float(values[row, rank])])
    return TableRecord(title=title, columns=columns, rows=rows)
