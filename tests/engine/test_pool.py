"""What a pool keeps and refuses, and how positions of one prompt are mapped to those of another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.alignment import Alignment
from circuitgraph.errors import ArgumentError, DataError
from circuitgraph.graph.site import embed, mlp
from tests.checkpoints import Tiny, random_prompts
from tests.engine.trees import ROLES, Case, head_at

PLACES = np.zeros((5, 3), int)


@pytest.fixture(scope="module")
def case(tiny: Tiny) -> Case:
    return Case.of(tiny)


def alignment(
    lengths: list[int], role_positions: list[list[int]], roles: tuple[str, ...]
) -> Alignment:
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return Alignment(mask, np.array(role_positions), roles)


def test_a_map_by_hand() -> None:
    """Prompt 0 is ``. . A . . last``, prompt 1 ``A . B last``; others are taken in turn."""
    aligned = alignment([6, 4], [[2, 2], [0, 2]], ("A", "B"))
    here, there = np.array([0, 1, 0]), np.array([1, 0, 0])
    expected = [[1, 1, 0, 1, 1, 3], [2, 0, 2, 5, 4, 5], [0, 1, 2, 3, 4, 5]]
    np.testing.assert_array_equal(aligned.map_positions(here, there), expected)
    np.testing.assert_array_equal(aligned.map_positions(here, there, ("B",))[0], [1, 1, 2, 1, 1, 3])
    np.testing.assert_array_equal(aligned.cover_roles(here, ("A",))[0], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(aligned.cover_roles(here, ())[1], [1, 1, 1, 1, 0, 0])


def test_a_donor_without_other_positions_gives_its_first() -> None:
    aligned = alignment([4, 2], [[1], [0]], ("A",))
    np.testing.assert_array_equal(
        aligned.map_positions(np.array([0]), np.array([1])), [[0, 0, 0, 1]]
    )


def test_the_last_token_wins_over_roles_that_do_not_come_first() -> None:
    aligned = alignment([3, 3], [[2], [0]], ("A",))
    np.testing.assert_array_equal(aligned.map_positions(np.array([0]), np.array([1]))[:, 2], [2])
    np.testing.assert_array_equal(
        aligned.map_positions(np.array([0]), np.array([1]), ("A",))[:, 2], [0]
    )


@given(st.data())
def test_a_prompt_is_mapped_to_itself_and_others_within_their_bounds(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    role_positions = [
        data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2)) for n in lengths
    ]
    aligned = alignment(lengths, role_positions, ("A", "B"))
    rows = st.lists(st.integers(0, len(lengths) - 1), min_size=3, max_size=3).map(np.array)
    here, there, first = data.draw(rows), data.draw(rows), data.draw(st.permutations(["A", "B"]))
    for own in aligned.map_positions(here, here, first):
        np.testing.assert_array_equal(own, np.arange(max(lengths)))
    for row, i, j in zip(aligned.map_positions(here, there, first), here, there, strict=True):
        assert (row[: lengths[i]] < lengths[j]).all()
        assert row[role_positions[i][first == ["B", "A"]]] == role_positions[j][first == ["B", "A"]]


def test_what_is_asked_for_is_kept_and_counted(case: Case) -> None:
    pool = Case.of(case.tiny).pool
    assert pool.bytes == 0
    pool.prepare([], [head_at(1, 2, "A"), embed])
    size = 4 * 8 * 9 * 24
    assert (
        pool.bytes == 3 * size
    )  # the embedding's stream, the one that layer 1 reads, and what the head writes
    pool.prepare([2], [head_at(1, 2)])
    assert pool.bytes == 3 * size


def test_a_stream_is_the_same_from_whatever_it_is_computed(case: Case) -> None:
    first, second = Case.of(case.tiny).pool, Case.of(case.tiny).pool
    for stage in (1, 4):
        first.get_stream(stage)
    np.testing.assert_array_equal(first.get_stream(6), second.get_stream(6))
    np.testing.assert_array_equal(first.get_stream(3), second.get_stream(3))


def test_what_does_not_fit_is_refused_before_it_is_computed(case: Case) -> None:
    pool = Activations(
        case.tiny.ours, case.prompts, case.role_positions, ROLES, launch=8, memory=20_000
    )
    with pytest.raises(
        ArgumentError, match=r"6 prompts need about 0 MiB, but the limit is 0 MiB. Use fewer"
    ):
        pool.prepare([6], [mlp(1)])
    assert pool.bytes == 0


def test_prompts_are_filled_up_to_whole_launches(case: Case) -> None:
    pool = Activations(
        case.tiny.ours, case.prompts, case.role_positions, ROLES, rows=17, length=11, launch=8
    )
    assert pool.inputs.tokens.shape == (24, 11)
    np.testing.assert_array_equal(pool.inputs.tokens[6], pool.inputs.tokens[0])
    assert [list(rows[[0, -1]]) for rows in pool.cut_launches(10)] == [[0, 7], [8, 9]]


def test_what_the_pool_cannot_hold_is_refused(tiny: Tiny) -> None:
    prompts = random_prompts()
    with pytest.raises(
        ArgumentError, match="5 prompts of up to 9 tokens, but rows is 4 and length 12"
    ):
        Activations(tiny.ours, prompts, PLACES, ROLES, rows=4, length=12)
    with pytest.raises(DataError, match=r"expected \(5, 2\): prompts, roles"):
        Activations(tiny.ours, prompts, PLACES, ROLES[:2])
    outside = PLACES.copy()
    outside[3, 1], outside[4, 2] = 9, -1
    with pytest.raises(
        DataError, match=r"'B' of prompt 3 stands at 9(.|\n)*'C' of prompt 4 stands at -1"
    ):
        Activations(tiny.ours, prompts, outside, ROLES)
    with pytest.raises(DataError, match="14 tokens, but the model's context is 13"):
        Activations(tiny.ours, random_prompts(longest=14), PLACES, ROLES)
    with pytest.raises(ArgumentError, match="length is 14, but the model's context is 13"):
        Activations(tiny.ours, prompts, PLACES, ROLES, length=14)
