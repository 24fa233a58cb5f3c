"""Shapley values of tokens: what each token of a prompt contributes to the metric."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import estimate_cell
from circuitgraph.analysis.shapley_values import (
    Sets,
    compute_shapley,
    list_sets,
    sample_shapley,
)
from circuitgraph.analysis.variants import (
    check_number,
    choose_metric,
    count_read,
    find_absent,
    measure_variants,
)
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.errors import DataError, check_at_least, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts

_MOST_EXACT = 16  # tokens: 65,536 prompts


@analysis(
    "token-shapley",
    source="Shapley 1953, Lundberg and Lee 2017",
    cannot_tell="how tokens work together, only each one's fair share of it; the shares are of "
    "this counterpart, and most of the mixed prompts are texts that nobody writes.",
)
def read_token_shapley(
    model: LanguageModel,
    prompts: Prompts,
    *,
    absent: str | None = None,
    metric: str | None = None,
    number: int = 0,
    exact_up_to: int = 10,
    n_orders: int = 50,
    seed: int = 0,
    bar: bool = False,
) -> Reading:
    """What each token of a prompt contributes to the metric: Shapley values, exact for few tokens,
    else from random orders with 95 % intervals. Tokens that are absent are the corrupted prompt's.

    Args:
        absent: a text of one token that stands for every absent token instead.
        metric: of the answer; by default the first of logit difference, logit ... that these
            prompts allow.
        number: of the prompt; 0 is the first.
        exact_up_to: how many tokens that can be absent are tried in all combinations.
        n_orders: how many random orders of more tokens, each taken forwards and backwards.
        seed: of the orders.

    Raises:
        DataError: ``absent`` is not one token, the prompts have no counterparts, or this one's has
            the same tokens.
        ArgumentError: no such prompt, or numbers that make no sense.
    """
    check_number(prompts, number)
    check_between("exact_up_to", exact_up_to, 0, _MOST_EXACT)
    check_at_least("n_orders", n_orders, 2)
    check_at_least("seed", seed, 0)
    chosen = choose_metric(model, prompts, metric)
    clean, other = prompts.clean[number], find_absent(model, prompts, number, absent)
    at = np.flatnonzero((clean != other)[: count_read(prompts, number)])
    if not len(at):
        raise DataError(f"In prompt {number} no token is another one when it is absent.")

    def value_of(sets: Sets) -> Float[np.ndarray, " sets"]:
        tokens = np.repeat(clean[None], len(sets), axis=0)
        tokens[:, at] = np.where(sets, clean[at], other[at])
        rows = np.full(len(sets), number)
        return measure_variants(model, prompts, rows, tokens, chosen, bar=bar)[0]

    n, alone = len(at), np.eye(len(at), dtype=bool)
    none, whole = np.zeros((1, n), bool), np.ones((1, n), bool)
    singles = value_of(np.concatenate([none, whole, alone, ~alone]))
    if n <= exact_up_to:
        shares = compute_shapley(value_of(list_sets(n)))[None]
        how = f"exact, by all {2**n:,} combinations"
    else:
        shares = sample_shapley(value_of, n, n_orders, np.random.default_rng(seed))
        how = f"from {n_orders:,} random orders, forwards and backwards, 95 % intervals"
    name = chosen.name.replace("_", " ")
    prompt = f"Prompt {number}, {prompts.pairs[number].clean[-60:]!r}"
    title = f"{prompt}: contributions to {name}, {how}"
    note = (
        f"{name}: {singles[1]:.4g} with all tokens, {singles[0]:.4g} with none; Shapley values sum "
        f"to the difference, {shares.mean(0).sum():.4g}. Tokens that stand in both prompts have 0."
    )
    return Reading(
        tables=[_make_table(model, title, (clean, other), at, shares, singles)],
        pictures=[_draw_shares(model, clean, at, shares.mean(0), name)],
        notes=[note],
    )


def _make_table(
    model: LanguageModel,
    title: str,
    tokens: tuple[Int[np.ndarray, " pos"], Int[np.ndarray, " pos"]],
    at: Int[np.ndarray, " players"],
    shares: Float[np.ndarray, "orders players"],
    singles: Float[np.ndarray, " sets"],
) -> TableRecord:
    """A row for each token that can be absent.

    Args:
        tokens: those of the prompt, and those that stand there for absent ones.
        singles: values of no token, of all, of each token alone, of all but one.
    """
    decode, n = model.text_tokenizer.decode, len(at)
    rows: list[list[Cell]] = [
        [
            int(p),
            *(repr(decode([int(side[p])])) for side in tokens),
            estimate_cell(shares[:, i]),
            float(singles[2 + i] - singles[0]),
            float(singles[1] - singles[2 + n + i]),
        ]
        for i, p in enumerate(at)
    ]
    return TableRecord(
        title=title,
        columns=["position", "token", "if absent", "Shapley value", "comes first", "comes last"],
        rows=rows,
    )


def _draw_shares(
    model: LanguageModel,
    clean: Int[np.ndarray, " pos"],
    at: Int[np.ndarray, " players"],
    shares: Float[np.ndarray, " players"],
    name: str,
) -> HeatmapRecord:
    decode = model.text_tokenizer.decode
    return HeatmapRecord(
        title="What each token contributes",
        unit=name,
        row_axis="",
        column_axis="position: token",
        row_labels=["Shapley value"],
        column_labels=[f"{p}: {decode([int(clean[p])])}" for p in at],
        values=[shares.tolist()],
    )
