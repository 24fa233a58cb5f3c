"""Causal tracing against torch hooks that add the same noise, and on a model that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.causal_tracing import NoiseDraws, bound_window, trace_causes
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.errors import ArgumentError, CircuitGraphError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import metrics
from tests.analysis.hooked_patching import run_hooked
from tests.checkpoints import Tiny, random_prompts

PROMPTS = random_prompts(batch=2, longest=7)
AT = np.array([[1, 2], [1, 2]])


@pytest.fixture(scope="module")
def patching(tiny: Tiny) -> Any:
    draws = NoiseDraws(AT, size=2.0, samples=1, seed=5)
    return draws.make_patching(tiny.ours, PROMPTS, slice(2), (metrics["logit"],))


def run_noised(tiny: Tiny, patching: Any, hooks: dict[Any, Any]) -> np.ndarray:
    """The answers' logits with the noised embedding and more hooks."""
    noised = torch.tensor(np.asarray(patching.base.streams[0]))
    start = {tiny.hf.transformer.h[0]: lambda _, args: (noised.clone(), *args[1:])}
    logits = run_hooked(tiny, PROMPTS.clean, PROMPTS, {**start, **hooks})
    return logits[np.arange(2), PROMPTS.answer]


def test_noise_is_added_to_the_subject_alone_and_is_that_of_the_seed(
    tiny: Tiny, patching: Any
) -> None:
    moved = np.abs(np.asarray(patching.base.streams[0] - patching.donor.streams[0])).max(axis=2)
    assert (moved[:, 1:3] > 0).all()
    assert np.delete(moved, [1, 2], axis=1).max() == 0
    again = NoiseDraws(AT, size=2.0, samples=1, seed=5)
    second = again.make_patching(tiny.ours, PROMPTS, slice(1, 2), patching.metrics)
    np.testing.assert_array_equal(second.base.streams[0][0], patching.base.streams[0][1])
    np.testing.assert_allclose(
        patching.measure_base()[0], run_noised(tiny, patching, {}), atol=2e-5
    )


@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_windows_are_those_of_hooks(tiny: Tiny, patching: Any, part: Any) -> None:
    """What attentions or MLPs of two layers add is the clean run's, at one position."""
    blocks = tiny.hf.transformer.h
    modules = [block.attn.c_proj if part == "attention" else block.mlp.c_proj for block in blocks]
    kept: dict[Any, Any] = {}

    def keep(module: Any, args: Any) -> None:
        kept[module] = args[0].clone()

    run_hooked(tiny, PROMPTS.clean, PROMPTS, dict.fromkeys(modules, keep))

    def put_in(module: Any, args: Any) -> Any:
        x = args[0].clone()
        x[:, 2] = kept[module][:, 2]
        return (x,)

    for first, end in ((0, 2), (1, 3)):
        expected = run_noised(tiny, patching, dict.fromkeys(modules[first:end], put_in))
        ours = patching.measure_windows(part, first, end, np.full((2, 1), 2))
        np.testing.assert_allclose(ours[0, 0], expected, atol=2e-5)


def test_the_copied_token_is_fetched_from_where_it_stands(shipped: LanguageModel) -> None:
    """Noise on the token to be copied: its clean stream restores all there before the last layer,
    and only at the last position after it.
    """
    prompts = cg.load_task("induction", shipped).prompts(6, "evaluation")
    reading = trace_causes(shipped, prompts, subject=("B1",), samples=2, top=3)
    (picture,) = reading.pictures
    assert isinstance(picture, HeatmapRecord)
    shares = np.array(picture.values, np.float64)
    at = [picture.column_labels.index(role) for role in ("B1", "A2")]
    assert shares[0, at[0]] == pytest.approx(1, abs=1e-5)
    assert shares[1, at[0]] > 0.9
    assert shares[2, at[1]] == pytest.approx(1, abs=1e-5)
    assert abs(shares[2, at[0]]) < 1e-5


def test_windows_end_where_the_model_does() -> None:
    assert [bound_window(layer, 3, 4) for layer in range(4)] == [(0, 2), (0, 3), (1, 4), (2, 4)]
    assert bound_window(2, 1, 4) == (2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subject": ()}, "subject is ()"),
        ({"subject": (1,), "noise": 0.0}, "noise 0.0"),
        ({"subject": ("S",)}, "Unknown role of these prompts 'S'"),
        ({"subject": (1,), "window": 2}, "window is of attention or mlp"),
        ({"subject": (1,), "samples": 0}, "samples is 0"),
        ({"subject": (1,), "kind": "mlp", "window": 0}, "window is 0"),
        ({"subject": (1,), "layers": (9,)}, "layers is [9]"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny: Tiny, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CircuitGraphError) as caught:
        trace_causes(tiny.ours, PROMPTS, **settings)
    assert message in str(caught.value)


def test_a_model_without_mlps_has_none_to_restore(shipped: LanguageModel) -> None:
    with pytest.raises(ArgumentError, match="'induction-2l' has no MLPs"):
        trace_causes(shipped, PROMPTS, subject=(1,), kind="mlp")
