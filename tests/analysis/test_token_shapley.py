"""Shapley values: toys whose values are known, all orders written out, and tokens of prompts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from circuitgraph.analysis.shapley_values import compute_shapley, list_sets, sample_shapley
from circuitgraph.analysis.token_shapley import read_token_shapley
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import ArgumentError, DataError
from tests.checkpoints import Tiny, random_prompts

WORTH = np.array([2.0, -1.0, 0.5, 3.0])


def add_worth(sets: np.ndarray) -> np.ndarray:
    return 7.0 + sets @ WORTH


def play_gloves(sets: np.ndarray) -> np.ndarray:
    """One left glove and two right ones: a pair is worth 1."""
    return (sets[:, 0] & sets[:, 1:].any(1)).astype(float)


def try_all_orders(value: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """The definition: each player's mean contribution over all orders."""
    gains, orders = np.zeros(n), list(permutations(range(n)))
    for order in orders:
        present = np.zeros(n, bool)
        for player in order:
            before = value(present[None])[0]
            present[player] = True
            gains[player] += value(present[None])[0] - before
    return gains / len(orders)


def test_an_additive_toy_is_exact() -> None:
    np.testing.assert_allclose(compute_shapley(add_worth(list_sets(4))), WORTH, atol=1e-12)
    sampled = sample_shapley(add_worth, 4, 3, np.random.default_rng(0))
    np.testing.assert_allclose(sampled, np.tile(WORTH, (3, 1)), atol=1e-12)


def test_gloves_are_shared_as_in_the_textbook() -> None:
    shares = compute_shapley(play_gloves(list_sets(3)))
    np.testing.assert_allclose(shares, [4 / 6, 1 / 6, 1 / 6], atol=1e-12)


def test_any_game_is_the_mean_over_all_orders() -> None:
    table = np.random.default_rng(1).normal(size=2**5)

    def look_up(sets: np.ndarray) -> np.ndarray:
        return table[sets @ (1 << np.arange(5))]

    exact = compute_shapley(table)
    np.testing.assert_allclose(exact, try_all_orders(look_up, 5), atol=1e-12)
    sampled = sample_shapley(look_up, 5, 600, np.random.default_rng(2))
    error = sampled.std(0, ddof=1) / np.sqrt(len(sampled))
    assert (np.abs(sampled.mean(0) - exact) < 4 * error).all()
    np.testing.assert_allclose(sampled.sum(1), table[-1] - table[0], atol=1e-9)


def test_tokens_of_a_prompt_by_all_orders(tiny: Tiny) -> None:
    """The metric is read off whole runs of the public interface, order by order."""
    prompts = random_prompts(longest=5, seed=3)
    reading = read_token_shapley(tiny.ours, prompts, metric="logit")
    clean, corrupted = prompts.clean[0], prompts.corrupted
    assert corrupted is not None
    assert prompts.answer is not None
    at, answer = np.flatnonzero(clean != corrupted[0]), prompts.answer[0]

    def run_sets(sets: np.ndarray) -> np.ndarray:
        tokens = np.where(sets, clean[at], corrupted[0][at])
        rows = np.tile(clean, (len(sets), 1))
        rows[:, at] = tokens
        return tiny.ours.logits(rows)[:, -1, answer].astype(float)

    theirs = try_all_orders(run_sets, len(at))
    rows = reading.tables[0].rows
    assert [row[0] for row in rows] == at.tolist()
    for row, exact in zip(rows, theirs, strict=True):
        assert row[3] == pytest.approx(exact, abs=1e-4)
    sampled = read_token_shapley(tiny.ours, prompts, metric="logit", exact_up_to=0)
    for row, exact in zip(sampled.tables[0].rows, theirs, strict=True):
        assert isinstance(row[3], Interval)
        width = row[3].high - row[3].low
        assert abs(row[3].mean - exact) < 2 * width
    (picture,) = reading.pictures
    assert isinstance(picture, HeatmapRecord)
    np.testing.assert_allclose(np.array(picture.values)[0], theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"number": 5}, ArgumentError, "number is 5, but must be at most 4"),
        ({"exact_up_to": 17}, ArgumentError, "exact_up_to is 17, but must be at most 16"),
        ({"n_orders": 1}, ArgumentError, "n_orders is 1"),
        ({"metric": "kl"}, ArgumentError, "metric is 'kl': expected one of logit_difference"),
        ({"absent": "1 2"}, DataError, "'1 2' is not one token"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tiny: Tiny, settings: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_token_shapley(tiny.ours, random_prompts(), **settings)  # pyright: ignore[reportArgumentType]


def test_prompts_without_counterparts_need_a_token(tiny: Tiny) -> None:
    alone = random_prompts(longest=4)
    object.__setattr__(alone, "corrupted", None)
    with pytest.raises(DataError, match="needs a corrupted prompt for every pair"):
        read_token_shapley(tiny.ours, alone)
    rows = read_token_shapley(tiny.ours, alone, absent="7").tables[0].rows
    assert all(row[2] == "'7'" for row in rows)
