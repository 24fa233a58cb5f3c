"""Activation patching on a model whose circuit is known, by hooks through the whole method, and
what it refuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.analysis.activation_patching import patch_activations
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError
from circuitgraph.models.language_model import LanguageModel
from tests.analysis.hooked_patching import patch_hooked
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=3, longest=7)


def heatmap(reading: Any, number: int = 0) -> HeatmapRecord:
    picture = reading.pictures[number]
    assert isinstance(picture, HeatmapRecord)
    return picture


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_shares_are_those_of_hooks(tiny: Tiny, direction: Any) -> None:
    picture = heatmap(patch_activations(tiny.ours, PROMPTS, kind="head", direction=direction))
    assert picture.row_labels[5] == "a1.h1"
    rows = np.arange(len(PROMPTS))

    def measure(logits: np.ndarray) -> float:
        return float((logits[rows, PROMPTS.answer] - logits[rows, PROMPTS.distractor]).mean())

    noising = direction == "noising"
    # all of the stream before the first layer is the whole other side
    start, end = (
        measure(patch_hooked(tiny, PROMPTS, "residual", 0, 0, None, noising=side))
        for side in (not noising, noising)
    )
    patched = measure(patch_hooked(tiny, PROMPTS, "head", 1, 1, None, noising=noising))
    assert picture.values[5][0] == pytest.approx((patched - start) / (end - start), abs=1e-4)


def test_the_known_heads_and_no_others_carry_induction(shipped: LanguageModel) -> None:
    """a0.h3 looks at the previous token, a1.h6 copies what followed; see the model's card."""
    prompts = cg.load_task("induction", shipped).prompts(12, "evaluation")
    reading = patch_activations(shipped, prompts, kind="head", direction="both", top=3)
    for number in (0, 1):
        picture = heatmap(reading, number)
        shares = {
            n: abs(row[0] or 0) for n, row in zip(picture.row_labels, picture.values, strict=True)
        }
        strongest = sorted(shares, key=lambda name: -shares[name])
        assert set(strongest[:2]) == {"a1.h6", "a0.h3"}
        assert shares["a1.h6"] > 0.9
        assert shares[strongest[2]] < 0.01


def test_the_stream_carries_the_answer_from_b1_to_a2(shipped: LanguageModel) -> None:
    """Before the first layer what differs is a token; in the end all is at the last position."""
    prompts = cg.load_task("induction", shipped).prompts(12, "evaluation")
    picture = heatmap(patch_activations(shipped, prompts))
    assert picture.row_labels == ("before 0", "before 1", "after the last")
    last = picture.column_labels.index("A2")
    assert picture.values[2][last] == pytest.approx(1, abs=1e-5)
    assert [abs(x or 0) for x in picture.values[0]][last] < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "head", "layers": (3,)}, "layers is [3], but the model has the layers 0 to 2"),
        ({"layers": (0, 4)}, "layers is [0, 4], but the model has the layers 0 to 2"),
        ({"kind": "head", "numbers": (4,)}, "numbers has 4, but a layer has the heads 0 to 3"),
        ({"kind": "neuron", "numbers": (-1,)}, "numbers has -1, but a layer has the neurons 0 to"),
        ({"kind": "mlp", "numbers": (1,)}, "numbers are of heads or neurons, but kind is 'mlp'"),
        ({"metric": "kl"}, "metric is 'kl': expected one of logit_difference"),
        ({"top": 0}, "top is 0"),
    ],
)
def test_what_does_not_exist_is_refused(tiny: Tiny, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CircuitGraphError) as caught:
        patch_activations(tiny.ours, PROMPTS, **settings)
    assert message in str(caught.value)


def test_models_and_prompts_that_cannot_be_patched(tiny: Tiny, shipped: LanguageModel) -> None:
    with pytest.raises(ArgumentError, match="'induction-2l' has no MLPs"):
        patch_activations(shipped, PROMPTS, kind="mlp")
    alike = random_prompts(batch=20, longest=7)
    assert alike.corrupted is not None
    alike.corrupted[18] = alike.clean[18]  # beyond the first launch
    with pytest.raises(DataError, match="The two sides of prompt 19 are the same"):
        patch_activations(tiny.ours, alike)
