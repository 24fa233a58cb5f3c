"""Packed patched runs against torch hooks, one patch at a time."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.patched import Kind
from circuitgraph.engine.readings.patching import pair_sides
from circuitgraph.tasks.metrics import metrics
from tests.analysis.hooked_patching import patch_hooked
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=3, longest=8)
TABLE = tuple(metrics[name] for name in ("logit_difference", "logit", "log_probability", "rank"))
NUMBERS: dict[Kind, list[int]] = {
    "residual": [0],
    "attention": [0],
    "mlp": [0],
    "head": [0, 2],
    "neuron": [1, 33],
}


def measure_logits(logits: np.ndarray) -> dict[str, np.ndarray]:
    rows = np.arange(len(PROMPTS))
    own, other = logits[rows, PROMPTS.answer], logits[rows, PROMPTS.distractor]
    log_p = own - np.log(np.exp(logits).sum(axis=1))
    rank = (logits > own[:, None]).sum(axis=1)
    return {"logit_difference": own - other, "logit": own, "log_probability": log_p, "rank": rank}


@pytest.mark.parametrize("noising", [True, False], ids=["noising", "denoising"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_every_patch_is_that_of_hooks(tiny: Tiny, kind: Kind, noising: bool) -> None:
    patching = pair_sides(tiny.ours.transformer, make_batch(PROMPTS), TABLE, noising=noising)
    lengths = PROMPTS.mask.sum(axis=1)
    columns = np.stack([np.zeros_like(lengths), lengths // 2, lengths - 1], axis=1)
    for layer in range(3 + (kind == "residual")):
        for at in (columns, None):
            ours = patching.measure_patches(kind, layer, NUMBERS[kind], at)
            for i, number in enumerate(NUMBERS[kind]):
                for j, place in enumerate([None] if at is None else at.T):
                    theirs = patch_hooked(
                        tiny, PROMPTS, kind, layer, number, place, noising=noising
                    )
                    for k, expected in enumerate(measure_logits(theirs).values()):
                        np.testing.assert_allclose(ours[i, j, k], expected, atol=3e-5)
