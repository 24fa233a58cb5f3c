"""Attention to roles: shares by an independent model, heads whose role is known, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.role_attention import read_role_attention
from circuitgraph.catalog.records import Interval
from circuitgraph.errors import DataError, UnknownNameError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Pair
from tests.checkpoints import Tiny, random_prompts


def test_shares_are_those_of_transformers_patterns(tiny: Tiny) -> None:
    prompts = random_prompts()
    pairs = tuple(Pair("a", "b", "c", roles={"S": i % 3, "T": 1}) for i in range(len(prompts)))
    object.__setattr__(prompts, "pairs", pairs)
    reading = read_role_attention(tiny.ours, prompts, top=12)
    with torch.no_grad():
        patterns = tiny.hf(torch.tensor(prompts.clean).long(), output_attentions=True).attentions
    for number, role in enumerate(("S", "T")):
        for row in reading.tables[number].rows:
            layer, head = (int(part[1:]) for part in str(row[0]).split("."))
            theirs = [
                float(patterns[layer][i, head, prompts.score_at[i], pairs[i].roles[role]])
                for i in range(len(prompts))
            ]
            assert isinstance(row[1], Interval)
            np.testing.assert_allclose(row[1].mean, np.mean(theirs), atol=1e-5)
            evenly = np.mean(1 / (prompts.score_at + 1))
            assert row[2] == pytest.approx(evenly, rel=1e-5)


def test_the_induction_head_looks_at_what_followed(shipped: LanguageModel) -> None:
    """From the second A to the B after the first one; the previous-token head, from B to A."""
    task = cg.load_task("induction", shipped)
    record = cg.analyze(shipped, task, "role-attention", n_prompts=8, top=1)
    of_role = {table.title.split("'")[1]: table.rows[0] for table in record.reading.tables}
    assert of_role["B1"][0] == "a1.h6"
    assert of_role["B1"][1].mean > 0.9  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    earlier = cg.analyze(
        shipped, task, "role-attention", n_prompts=8, top=1, at="B1", roles=("A1",)
    )
    assert [table.rows[0][0] for table in earlier.reading.tables] == ["a0.h3"]


def test_what_cannot_be_asked_is_refused(shipped: LanguageModel) -> None:
    prompts = cg.load_task("induction", shipped).prompts(3)
    with pytest.raises(UnknownNameError, match="Unknown role of these prompts 'IO'"):
        read_role_attention(shipped, prompts, roles=("IO",))
    object.__setattr__(prompts, "pairs", tuple(Pair("a", "b", "c") for _ in range(3)))
    with pytest.raises(DataError, match="The prompts have no role in common"):
        read_role_attention(shipped, prompts)
