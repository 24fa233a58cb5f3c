"""Heads of SmolLM2-135M: their types."""

from __future__ import annotations

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
