"""Skip trigrams: what a model of one layer of attention has learned of tokens far apart."""

from __future__ import annotations

import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.copying import describe_tokens
from circuitgraph.analysis.head_circuits import (
    describe_scores,
    find_tops,
    read_vectors,
    token_decoders,
)
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.graph.node import Node
from circuitgraph.models.language_model import LanguageModel


@analysis(
    "skip-trigrams",
    source="Elhage et al. 2021",
    cannot_tell="how strong a head's look is on text, where earlier tokens compete, nor what an "
    "MLP makes of it.",
)
def read_skip_trigrams(
    model: LanguageModel, *, offset: int = 1, n_each: int = 3, top: int = 10
) -> Reading:
    """Skip trigrams ``A .. B -> C`` of a model with one layer: at B, a head looks back at A and
    raises C. For each head, the tokens A whose best pair of B and C has the largest product.

    Args:
        offset: how many positions B stands after A, where the model has rotary positions.
        n_each: how many B and C to show with each A.
        top: how many A to show for each head.

    Raises:
        ArgumentError: a model of more layers, whose heads read more than tokens.
    """
    spec = model.spec
    if spec.n_layers != 1:
        raise ArgumentError(
            f"{model.name!r} has {spec.n_layers} layers, and skip trigrams are of models with one: "
            "use the analysis head-circuits for one head, or composition for several."
        )
    check_between("n_each", n_each, 1, min(spec.d_vocab, spec.d_vocab_out))
    check_between("top", top, 1, spec.d_vocab)
    notes = [*describe_tokens(spec, "embedding"), *describe_scores(spec, offset)]
    if spec.d_mlp is not None:
        notes.append("The MLP is left out: these are the heads' own ways to the logits.")
    tables = [_make_table(model, head, offset, n_each, top) for head in range(spec.n_heads)]
    return Reading(tables=tables, notes=notes)


def _make_table(model: LanguageModel, head: int, offset: int, n_each: int, top: int) -> TableRecord:
    node = Node("head", 0, head)
    vectors = read_vectors(model, node, offset, "embedding")
    scores, queries = find_tops(vectors.keys, vectors.queries, n_each)  # rows are A
    logits, answers = find_tops(vectors.values, vectors.raises, n_each)
    # where either is negative, A is looked away from, or raises nothing
    products = np.maximum(scores[:, 0], 0) * np.maximum(logits[:, 0], 0)
    decode, decode_answer = token_decoders(model)
    rows: list[list[Cell]] = [
        [
            decode(int(a)),
            ", ".join(decode(int(b)) for b in queries[a]),
            ", ".join(decode_answer(int(c)) for c in answers[a]),
            float(scores[a, 0]),
            float(logits[a, 0]),
            float(products[a]),
        ]
        for a in np.argsort(-products, kind="stable")[:top]
    ]
    return TableRecord(
        title=f"{node}: A .. B -> C, by the product of the best score and the best logit",
        columns=["A", "B", "C", "score", "logit", "product"],
        rows=rows,
    )
