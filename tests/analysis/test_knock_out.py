"""Knock-out curves: the hooks' own numbers, draws and bands, a known circuit, and elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.knock_out_curves import (
    Control,
    draw_others,
    draw_others_by_layer,
    mask_heads,
)
from circuitgraph.analysis.named_nodes import find_heads
from circuitgraph.catalog.analysis_record import CurvesRecord, Reading
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import CircuitGraphError
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, random_prompts
from tests.oracle.path_patching import HookedPaths

GRAPH = Graph(n_layers=3, n_heads=4)


def test_heads_are_replaced_by_their_means(tiny: Tiny) -> None:
    """Beside transformers with hooks: a mean over the real tokens of the corrupted prompts."""
    prompts, out = random_prompts(), ["a0.h1", "a2.h2"]
    tokens, others, mask = (
        torch.tensor(x).long() for x in (prompts.clean, prompts.corrupted, prompts.mask)
    )
    recorded = HookedPaths(tiny.hf, tokens, others, mask).corrupted
    width, handles = 24 // 4, []
    for name in out:
        layer, head = int(name[1]), int(name[-1])
        mean = recorded[f"z{layer}"][mask.bool()].mean(0)

        def replace_head(_module: Any, inputs: Any, head: int = head, mean: Any = mean) -> Any:
            z = inputs[0].clone()
            part = slice(head * width, (head + 1) * width)
            z[..., part] = mean[part]
            return (z,)

        projection = tiny.hf.transformer.h[layer].attn.c_proj
        handles.append(projection.register_forward_pre_hook(replace_head))
    with torch.no_grad():
        logits = tiny.hf(tokens, attention_mask=mask).logits.numpy()
    for handle in handles:
        handle.remove()
    rows = np.arange(len(prompts))
    last = logits[rows, prompts.score_at]
    experiment = Experiment(tiny.ours, prompts, ablation="mean", frontier=False)
    ours = experiment.values(mask_heads(experiment.graph, find_heads(experiment.graph, out))[None])
    theirs = last[rows, prompts.answer] - last[rows, prompts.distractor]
    np.testing.assert_allclose(ours[0], theirs, atol=2e-4)


def test_random_heads_are_others() -> None:
    rng, heads = np.random.default_rng(0), find_heads(GRAPH, ["a0.h1", "a2.h0", "a2.h3"])
    layers = sorted(GRAPH.writers[i].node.layer for i in heads)
    for _ in range(20):
        anywhere, alike = (draw(GRAPH, heads, rng) for draw in (draw_others, draw_others_by_layer))
        assert not set(heads) & {*anywhere, *alike}
        assert len(set(anywhere)) == len(set(alike)) == 3
        assert {GRAPH.writers[i].kind for i in (*anywhere, *alike)} == {"head"}
        assert sorted(GRAPH.writers[i].node.layer for i in alike) == layers


def test_where_heads_run_out_nothing_is_drawn() -> None:
    rng = np.random.default_rng(0)
    in_one_layer, most = (
        find_heads(GRAPH, ["a1.h0", "a1.h1", "a1.h2"]),
        find_heads(GRAPH, ["heads"]),
    )
    assert draw_others_by_layer(GRAPH, in_one_layer, rng) == []
    assert len(draw_others(GRAPH, in_one_layer, rng)) == 3
    assert draw_others(GRAPH, most[:7], rng) == []


def test_a_curve_leaves_the_band() -> None:
    draws = np.linspace(1.0, 3.0, 21)
    control = Control([draws, draws, None, draws, draws])
    band = control.bands[0]
    assert band is not None
    assert (band.mean, band.low, band.high) == pytest.approx((2.0, 1.1, 2.9))
    assert control.bands[2] is None
    assert control.find_exits(np.array([0.0, 2.0, 2.0, 3.5, 0.0])) == (1, 4)
    assert control.find_exits(np.array([2.0, 2.0, 9.0, 3.5, 2.0])) == (4, None)
    assert control.find_exits(np.array([2.0, 1.2, 9.0, 2.8, 2.0])) == (None, None)
    assert control.measure_distance(np.array([1.0, 2.0, 9.0, 3.0, 1.0])) == pytest.approx(-0.25)
    assert Control([None]).measure_distance(np.array([1.0])) is None


@pytest.fixture(scope="module")
def ioi() -> LanguageModel:
    return cg.load_model("ioi")


def read_ioi(ioi: LanguageModel, **settings: Any) -> Reading:
    task = cg.load_task("ioi", ioi)
    return cg.analyze(ioi, task, "knock-out", n_prompts=16, **settings).reading


def test_the_true_heads_leave_the_band(ioi: LanguageModel) -> None:
    """Which heads are true is known from training; three of twelve."""
    curve, summary = read_ioi(ioi, most=4).tables
    assert {str(row[1]) for row in curve.rows[1:4]} == {"a0.h1", "a1.h0", "a2.h2"}
    together, random = curve.rows[3][3], curve.rows[3][5]
    assert isinstance(together, Interval)
    assert isinstance(random, Interval)
    assert abs(together.mean) < 1 < 5 < random.low
    by_control = {str(row[0]): row for row in summary.rows}
    assert by_control["random"][2] == 3, "two of them may still be among the random heads"
    assert by_control["random by layer"][2] == 1


def test_other_heads_do_no_harm(ioi: LanguageModel) -> None:
    """Named heads, in the order given; what they do alone is measured on the same prompts."""
    rows = read_ioi(ioi, heads=["a1.h2", "a0.h0"]).tables[0].rows
    assert [row[1] for row in rows] == ["", "a1.h2", "a0.h0"]
    whole, first, both = (row[3] for row in rows)
    assert isinstance(whole, Interval)
    assert isinstance(first, Interval)
    assert isinstance(both, Interval)
    assert first.mean == pytest.approx(rows[1][4], abs=1e-5), "one head is the sum of one score"
    assert whole.low < both.mean


def test_key_heads_are_tried_elsewhere(ioi: LanguageModel) -> None:
    """The same heads, by their paths into the logits; where names change places they matter too."""
    reading = read_ioi(ioi, order="paths", most=2, key=1, transfer=["ioi"], metric="accuracy")
    assert reading.tables[0].rows[1][1] == "a2.h2"
    elsewhere = reading.tables[2]
    assert [row[0] for row in elsewhere.rows] == ["ioi", "ioi"]
    assert all(row[1] == "accuracy" for row in elsewhere.rows)
    whole, without, random = elsewhere.rows[1][2:5]
    assert isinstance(whole, Interval)
    assert isinstance(without, Interval)
    assert isinstance(random, Interval)
    assert without.mean < 0.7 < random.mean <= whole.mean
    picture = reading.pictures[0]
    assert isinstance(picture, CurvesRecord)
    assert [len(one.y) for one in picture.series] == [3, 3, 3]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no head": ({"heads": ["m0"]}, "'m0'"),
    "embedding": ({"heads": ["embed"]}, "'embed' is no head"),
    "head": ({"heads": ["a9.h0"]}, "Unknown writer 'a9.h0'"),
    "task": ({"transfer": ["oii"]}, "Unknown task 'oii'. Did you mean 'ioi'"),
    "ablation": ({"ablation": "median"}, "Unknown ablation 'median'"),
    "metric": ({"metric": "logits"}, "Unknown metric 'logits'"),
    "order": ({"order": "name"}, "expected one of effect, paths"),
    "most": ({"most": 0}, "most is 0"),
    "draws": ({"draws": 1}, "draws is 1"),
    "key": ({"key": -1}, "key is -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(ioi: LanguageModel, case: str) -> None:
    settings, message = BAD[case]
    with pytest.raises(CircuitGraphError) as caught:
        read_ioi(ioi, **settings)
    assert message in str(caught.value)
