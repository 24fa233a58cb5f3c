"""Substitution of tokens: metrics off whole runs of changed prompts, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.analysis.token_substitution import read_token_substitution
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import DataError, UnknownNameError
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, random_prompts


def test_each_cell_is_a_run_of_the_changed_prompt(tiny: Tiny) -> None:
    prompts = random_prompts(longest=5)
    reading = read_token_substitution(
        tiny.ours, prompts, alternatives=("3", "8"), metric="logit", number=1
    )
    (table,) = reading.tables
    n_read = int(prompts.score_at[1]) + 1
    assert prompts.answer is not None
    assert [row[0] for row in table.rows] == [p for p in range(n_read) for _ in range(2)]
    for position, _, other, value, change, says in table.rows:
        tokens = prompts.clean[1, :n_read].tolist()
        whole = tiny.ours.logits([tokens])[0, -1]
        tokens[position] = int(str(other).strip("'"))  # pyright: ignore[reportArgumentType, reportCallIssue]
        logits = tiny.ours.logits([tokens])[0, -1]
        answer = int(prompts.answer[1])
        assert value == pytest.approx(float(logits[answer]), abs=1e-4)
        assert change == pytest.approx(float(logits[answer] - whole[answer]), abs=1e-4)
        assert says == repr(str(int(logits.argmax())))


def test_roles_are_exchanged_in_all_prompts(shipped: LanguageModel) -> None:
    """Another word after the first A: that word should follow, and does."""
    task = cg.load_task("induction", shipped)
    record = cg.analyze(
        shipped, task, "token-substitution", n_prompts=6, at="B1", alternatives=("cat",)
    )
    (row,) = record.reading.tables[0].rows
    assert row[:2] == ["B1", "'cat'"]
    before, after, change, other = row[2:]
    assert isinstance(change, Interval)
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert change.mean == pytest.approx(after - before)
    assert change.high < -5
    assert isinstance(other, Interval)
    assert other.mean == 1
    by_role = cg.analyze(shipped, task, "token-substitution", n_prompts=6).reading.tables[0]
    assert [row[0] for row in by_role.rows] == ["A1", "B1", "A2"]


def test_what_cannot_be_exchanged_is_refused(shipped: LanguageModel, tiny: Tiny) -> None:
    prompts = cg.load_task("induction", shipped).prompts(2)
    with pytest.raises(DataError, match="'no such word' is not one token of this model"):
        read_token_substitution(shipped, prompts, alternatives=("no such word",))
    with pytest.raises(UnknownNameError, match="Unknown role of these prompts 'IO'"):
        read_token_substitution(shipped, prompts, at="IO")
    same = random_prompts()
    object.__setattr__(same, "corrupted", np.array(same.clean))
    with pytest.raises(DataError, match="prompt 0 has the same tokens: name alternatives"):
        read_token_substitution(tiny.ours, same)
