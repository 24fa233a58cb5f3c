"""The tokens that units write towards and read: two tables of a unit report."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.unit_choice import PlacedUnits
from circuitgraph.catalog.analysis_record import Cell, TableRecord
from circuitgraph.engine.batch import make_inputs
from circuitgraph.engine.readings.unit_directions import (
    compare_tokens,
    list_read_rows,
    list_written_rows,
    rank_logits,
    sum_final_parts,
)
from circuitgraph.engine.unit_places import choose_rows
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


def make_token_tables(
    model: LanguageModel,
    prompts: Prompts,
    units: Sequence[str],
    placed: Sequence[PlacedUnits],
    n_top: int,
) -> list[TableRecord]:
    """The logits that each unit's row raises and lowers, and the tokens nearest to what it reads.

    Args:
        placed: where each of the units is read.
    """
    written: list[list[Cell]] = []
    read: list[list[Cell]] = []
    for one in placed:
        names = [units[number] for number in one.numbers]
        rows = list_written_rows(model.transformer, one.place)
        parts = _average_parts(model, prompts, np.asarray(rows, np.float32))
        values, tokens = map(np.asarray, rank_logits(model.transformer, jnp.asarray(parts), n_top))
        decode = model.text_tokenizer.decode_answer
        for unit, own, ids in zip(names, values, tokens, strict=True):
            words = [decode(int(token)) for token in ids]
            written.append([unit, "raises", *_format_side(words[:n_top], own[:n_top])])
            written.append([unit, "lowers", *_format_side(words[n_top:], own[n_top:])])
        for what, rows in list_read_rows(model.transformer, one.place).items():
            values, tokens = map(np.asarray, compare_tokens(model.transformer, rows, n_top))
            for unit, own, ids in zip(names, values, tokens, strict=True):
                words = [model.text_tokenizer.decode([int(token)]) for token in ids]
                read.append([unit, what, *_format_side(words, own)])
    tables = [
        ("What each 1 of a unit's value adds to the logits, if nothing else reads it", written)
    ]
    tables.append(("Tokens whose embeddings lie nearest to what a unit reads, by cosine", read))
    order = {unit: number for number, unit in enumerate(units)}
    return [
        TableRecord(
            title=title,
            columns=["unit", "", "tokens", "first", "last"],
            rows=sorted(rows, key=lambda row: order[str(row[0])]),
        )
        for title, rows in tables
        if rows
    ]


def _average_parts(
    model: LanguageModel, prompts: Prompts, rows: Float[np.ndarray, "units d"]
) -> Float[np.ndarray, "units d"]:
    """What rows are behind the final norm, with the divisors of all tokens, on average."""
    total = np.zeros_like(rows)
    at_once = choose_rows(model.spec, prompts.mask.shape[1])
    for start in range(0, len(prompts), at_once):
        part = slice(start, start + at_once)
        inputs = make_inputs(prompts.clean[part], prompts.mask[part], prompts.score_at[part])
        total += np.asarray(sum_final_parts(model.transformer, inputs, jnp.asarray(rows)))
    return total / prompts.mask.sum()


def _format_side(words: Sequence[str], values: Float[np.ndarray, " n"]) -> list[Cell]:
    """Tokens from the strongest on, and the numbers of the first and the last of them."""
    return [" ".join(map(repr, words)), float(values[0]), float(values[-1])]
