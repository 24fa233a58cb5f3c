"""Runs of one shape: any number of prompts, of any lengths, give what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.engine.fixed_shape import FixedShapeRuns, PromptShape, TokenisedPrompt
from circuitgraph.engine.tuning import FIXED_SHAPE_ROWS as ROWS
from circuitgraph.errors import ArgumentError
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.metrics import metrics
from circuitgraph.tasks.prompts import Pair
from tests.engine.trees import compilations

PAIR = Pair("", "", "")
N = ROWS + 8  # more than one launch


def draw_prompts(n: int, seed: int) -> list[TokenisedPrompt]:
    """Prompts of 3 to 12 tokens; those of another seed have the same lengths."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 60, (n, 14))
    return [
        TokenisedPrompt(PAIR, tuple(row[: 3 + i % 10].tolist()), int(row[12]), int(row[13]), (), ())
        for i, row in enumerate(tokens)
    ]


@pytest.fixture(scope="module")
def runs() -> FixedShapeRuns:
    shape = PromptShape.of(draw_prompts(N, 0))
    return FixedShapeRuns(load_model("induction-2l"), metrics["logit_difference"], shape)


def test_prompts_together_give_what_each_gives_alone(runs: FixedShapeRuns) -> None:
    prompts, donors = draw_prompts(N, 0), draw_prompts(N, 1)
    rng = np.random.default_rng(2)
    edges = [rng.integers(0, 40, 5).tolist() for _ in prompts]
    logits = runs.compute_logits([prompt.ids for prompt in prompts])
    before, after = runs.patch_edges(prompts, donors, edges)
    runs.score_logits(logits[0], prompts[0])
    with compilations() as compiled:
        for i in (0, 7, ROWS - 1, ROWS, N - 1):
            one = slice(i, i + 1)
            np.testing.assert_array_equal(runs.compute_logits([prompts[i].ids])[0], logits[i])
            alone = runs.patch_edges(prompts[one], donors[one], edges[one])
            np.testing.assert_array_equal(alone[:, 0], [before[i], after[i]])
            score = logits[i, prompts[i].answer] - logits[i, prompts[i].distractor]
            assert before[i] == pytest.approx(score, abs=1e-4)
            assert runs.score_logits(logits[i], prompts[i]) == pytest.approx(score, abs=1e-6)
    assert compiled == []
    assert not np.array_equal(before, after)


def test_too_long_a_prompt_is_refused(runs: FixedShapeRuns) -> None:
    with pytest.raises(ArgumentError, match="context is 64"):
        runs.compute_logits([(2,) * 65])
