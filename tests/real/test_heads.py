"""Heads of SmolLM2-135M: their types, and what they read of each other."""

from __future__ import annotations

import circuitgraph as cg
from circuitgraph.analysis.head_types import measure_types
from circuitgraph.models.language_model import LanguageModel


def test_induction_heads_score_as_such(real_model: LanguageModel) -> None:
    scores = measure_types(real_model, n_sequences=8)
    named = scores.name_heads()
    types = {kind: [head for head in named if named[head] == kind] for kind in named.values()}
    assert {"a17.h3", "a17.h4", "a17.h5", "a18.h6"} <= set(types["induction"])
    assert {"a11.h1", "a16.h0"} <= set(types["previous-token"])
    assert "a14.h3" in types["duplicate-token"]
    assert scores.repeated[18, 6, 2].mean() > 0.8
    assert scores.single[18, 6, 2].mean() < 0.02


def test_an_induction_head_reads_a_previous_token_head_by_its_key(
    real_model: LanguageModel,
) -> None:
    by_key = cg.analyze(real_model, None, "composition", top=10).reading.tables[1]
    assert ["a16.h0", "a17.h3<k>"] in [row[:2] for row in by_key.rows]
