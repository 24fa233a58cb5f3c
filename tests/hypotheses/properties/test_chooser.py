from __future__ import annotations

import pytest

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.properties.chooser import Chooser
from tests.hypotheses.properties.inducing import seeded


def _zeros() -> bytes:
    return bytes(16)


def test_zeros_are_the_first_of_everything() -> None:
    rng = Chooser(_zeros)
    assert rng.integers(3, 9) == 3
    assert rng.integers(7) == 0
    assert rng.random() == 0.0
    assert rng.choice(["x", "y"]) == "x"
    assert rng.choice(10, 4, replace=False).tolist() == [0, 1, 2, 3]
    assert rng.permutation(5).tolist() == [0, 1, 2, 3, 4]


def test_every_choice_is_reached_and_none_beyond() -> None:
    rng = Chooser(seeded())
    for n in (1, 2, 16, 17, 300, 5000):
        drawn = [rng.draw_below(n) for _ in range(8 * n if n < 5000 else 2000)]
        assert min(drawn) >= 0
        assert max(drawn) < n
        if n <= 17:
            assert set(drawn) == set(range(n))
    assert {rng.integers(2, 4, endpoint=True) for _ in range(60)} == {2, 3, 4}
    assert rng.integers(5, size=(2, 3)).shape == (2, 3)


def test_without_replacement_all_are_different() -> None:
    rng = Chooser(seeded())
    for n in (12, 6000):  # by two bytes each, and by more
        found = rng.choice(n, 12, replace=False)
        assert len(set(found.tolist())) == 12
        assert set(found.tolist()) <= set(range(n))
    items = list("abcdef")
    rng.shuffle(items)
    assert sorted(items) == list("abcdef")
    assert items != list("abcdef")
    assert sorted(rng.permutation(items).tolist()) == list("abcdef")


def test_what_has_no_strategy_is_named() -> None:
    rng = Chooser(_zeros)
    assert isinstance(rng, Choices)  # grammars say so of what they take
    with pytest.raises(HypothesisError, match=r"rng\.normal"):
        rng.normal()
    with pytest.raises(HypothesisError, match="p="):
        rng.choice(3, p=[0.2, 0.3, 0.5])
    with pytest.raises(HypothesisError, match="4 different ones of 3"):
        rng.choice(3, 4, replace=False)


def test_a_grammar_that_tries_again_comes_to_an_end_on_zeros() -> None:
    rng = Chooser.from_bytes(bytes(8))
    assert next(i for i in range(1000) if rng.integers(2) == 1) >= 8
