"""Super weights: a planted one is found, removed, restored; beside transformers with hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.analysis.super_weight_rounding import (
    estimate_closed,
    read_super_weight_rounding,
)
from circuitgraph.analysis.super_weights import find_largest_others, read_super_weights
from circuitgraph.analysis.text_effects import TextMeasure
from circuitgraph.analysis.weight_spikes import find_spikes, locate_weights, search_super_weights
from circuitgraph.catalog.analysis_record import CurvesRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.readings.rounding import measure_error, restore_weights, round_network
from circuitgraph.engine.readings.super_weights import scale_weights
from circuitgraph.errors import ArgumentError, DataError
from tests.checkpoints import Tiny, load_tiny, random_prompts, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

LAYER, ROW, COLUMN = 1, 7, 11


@pytest.fixture(scope="module", params=["gpt2", "llama"])  # plain and transposed on disk; gated
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A hidden value that is always large, and the one output weight that lets it through."""
    folder = tmp_path_factory.mktemp("planted")
    if request.param == "gpt2":
        tiny = save_tiny(folder)
        mlp = tiny.hf.transformer.h[LAYER].mlp
        with torch.no_grad():
            mlp.c_fc.bias[COLUMN] = 400.0
            mlp.c_proj.weight[COLUMN] = 0.0
            mlp.c_proj.weight[COLUMN, ROW] = 20.0
    else:
        tiny = load_tiny(save_random(folder, "llama", **CASES["llama"]))
        mlp = tiny.hf.model.layers[LAYER].mlp
        with torch.no_grad():
            mlp.gate_proj.weight[COLUMN] *= 60
            mlp.up_proj.weight[COLUMN] *= 60
            mlp.down_proj.weight[:, COLUMN] = 0.0
            mlp.down_proj.weight[ROW, COLUMN] = 20.0
    tiny.hf.save_pretrained(folder)
    return load_tiny(folder)


def list_mlps(tiny: Tiny) -> list[Any]:
    """The output projection of each layer's MLP, as transformers has it."""
    if tiny.ours.family == "gpt2":
        return [block.mlp.c_proj for block in tiny.hf.transformer.h]
    return [layer.mlp.down_proj for layer in tiny.hf.model.layers]


def run_hf(tiny: Tiny, prompts: Any) -> np.ndarray:
    """The mean cross-entropy of each prompt's next tokens, by transformers."""
    tokens, mask = (torch.tensor(x).long() for x in (prompts.clean, prompts.mask))
    with torch.no_grad():
        logits = tiny.hf(tokens, attention_mask=mask).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
    )
    return ((losses * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)).numpy()


def test_spikes_are_the_largest_numbers(planted: Tiny) -> None:
    prompts, seen, handles = random_prompts(batch=10), {}, []
    for i, projection in enumerate(list_mlps(planted)):

        def save(_m: Any, inputs: Any, output: Any, i: int = i) -> None:
            seen[i] = inputs[0].detach().numpy(), output.detach().numpy()

        handles.append(projection.register_forward_hook(save))
    run_hf(planted, prompts)
    for handle in handles:
        handle.remove()
    for spike in find_spikes(planted.ours, planted.ours.transformer, prompts):
        read, written = (values[prompts.mask] for values in seen[spike.layer])
        assert abs(spike.read) == pytest.approx(np.abs(read).max(), rel=1e-4)
        assert abs(spike.written) == pytest.approx(np.abs(written).max(), rel=1e-4)
        assert spike.column == np.unravel_index(np.abs(read).argmax(), read.shape)[1]
        at = seen[spike.layer][1][spike.prompt, spike.position, spike.row]
        assert at == pytest.approx(spike.written, rel=1e-4)


def test_the_planted_weight_is_the_only_one(planted: Tiny) -> None:
    reading = read_super_weights(planted.ours, random_prompts(), others=5)
    weights, effects, spikes = reading.tables
    (row,) = weights.rows
    assert row[0] == f"[{LAYER}, {ROW}, {COLUMN}]"
    assert row[1] == pytest.approx(20.0)
    assert row[4] == pytest.approx(1.0, abs=0.1)
    assert len(spikes.rows) == planted.ours.spec.n_layers
    names = ["whole", "without the first 1", "without, activations restored"]
    assert [row[0] for row in effects.rows] == [*names, "without 5 other large ones"]
    curves = reading.pictures[0]
    assert isinstance(curves, CurvesRecord)
    without = effects.rows[1][1]
    assert isinstance(without, Interval)
    assert curves.series[0].y[0] == pytest.approx(without.mean, rel=1e-5), "the factor 0"


def test_without_the_weight_as_transformers_without_it(planted: Tiny) -> None:
    prompts = random_prompts()
    _, removed = search_super_weights(planted.ours, prompts, ratio=10.0, most=3)
    places, measure = locate_weights(removed), TextMeasure.of(planted.ours, prompts)
    weight = list_mlps(planted)[LAYER].weight
    at = (COLUMN, ROW) if planted.ours.family == "gpt2" else (ROW, COLUMN)
    np.testing.assert_allclose(
        measure.measure(planted.ours.transformer).loss, run_hf(planted, prompts), rtol=1e-4
    )
    for factor in (0.0, 1.5):
        with torch.no_grad():
            weight[at] = 20.0 * factor
        scaled = scale_weights(planted.ours.transformer, places, factor)
        np.testing.assert_allclose(
            measure.measure(scaled).loss, run_hf(planted, prompts), rtol=1e-3
        )
    with torch.no_grad():
        weight[at] = 20.0


def test_restored_activations(planted: Tiny) -> None:
    """In each prompt one number of the whole model is put back, beside hooks that do the same."""
    prompts, projection = random_prompts(), list_mlps(planted)[LAYER]
    _, removed = search_super_weights(planted.ours, prompts, ratio=10.0, most=3)
    places, measure = locate_weights(removed), TextMeasure.of(planted.ours, prompts)
    whole: list[Any] = []
    handle = projection.register_forward_hook(lambda _m, _i, out: whole.append(out))
    run_hf(planted, prompts)
    handle.remove()
    at = (COLUMN, ROW) if planted.ours.family == "gpt2" else (ROW, COLUMN)

    def put_back(_m: Any, _i: Any, out: Any) -> Any:
        out = out.clone()
        sizes = whole[0][..., ROW].abs().masked_fill(~torch.tensor(prompts.mask), -1)
        rows, places = torch.arange(len(prompts)), sizes.argmax(1)
        out[rows, places, ROW] = whole[0][rows, places, ROW]
        return out

    with torch.no_grad():
        projection.weight[at] = 0.0
    handle = projection.register_forward_hook(put_back)
    theirs = run_hf(planted, prompts)
    handle.remove()
    with torch.no_grad():
        projection.weight[at] = 20.0
    network = planted.ours.transformer
    without = scale_weights(network, places, 0.0)
    ours = measure.measure_restored(network, without, places).loss
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_other_large_weights_are_others(planted: Tiny) -> None:
    _, removed = search_super_weights(planted.ours, random_prompts(), ratio=10.0, most=3)
    places = locate_weights(removed)
    others = find_largest_others(planted.ours, places, 4)
    sizes = np.abs(np.array(planted.ours.transformer.blocks.mlp.w_out))  # pyright: ignore[reportOptionalMemberAccess]
    largest = np.sort(sizes, axis=None)[::-1]
    assert np.sort(sizes[tuple(others)])[::-1] == pytest.approx(largest[1:5])


def test_a_model_without_spikes_has_none(tiny: Tiny) -> None:
    reading = read_super_weights(tiny.ours, random_prompts())
    assert len(reading.tables) == 1
    assert reading.notes == ["No layer reads and writes 10 times as much as the median layer."]


def test_rounding_is_to_the_nearest(tiny: Tiny) -> None:
    """Every weight is at most half a step from where it was, and stands on one of the steps."""
    original, bits, block = tiny.ours.transformer, 3, 40
    rounded = round_network(original, bits, block)
    for old, new in (
        (original.blocks.attention.w_o, rounded.blocks.attention.w_o),
        (original.blocks.mlp.w_in, rounded.blocks.mlp.w_in),  # pyright: ignore[reportOptionalMemberAccess]
    ):
        for layer_old, layer_new in zip(np.array(old), np.array(new), strict=True):
            flat_old, flat_new = layer_old.ravel(), layer_new.ravel()
            for start in range(0, len(flat_old), block):
                before, after = flat_old[start : start + block], flat_new[start : start + block]
                step = (before.max() - before.min()) / (2**bits - 1)
                steps = (after - before.min()) / step
                np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
                assert np.abs(after - before).max() <= step / 2 + 1e-6
    assert float(measure_error(original, original)) == 0 < float(measure_error(rounded, original))


def test_clipping_moves_outliers_alone_and_restoring_moves_them_back(planted: Tiny) -> None:
    original = planted.ours.transformer
    _, removed = search_super_weights(planted.ours, random_prompts(), ratio=10.0, most=3)
    clipped = round_network(original, 16, 0, 6.0)
    old, new = (np.array(n.blocks.mlp.w_out[LAYER]) for n in (original, clipped))  # pyright: ignore[reportOptionalMemberAccess]
    edge = old.mean() + 6 * old.std()
    assert old[ROW, COLUMN] > edge
    np.testing.assert_allclose(new, np.clip(old, None, edge), atol=1e-3)
    restored = restore_weights(clipped, original, locate_weights(removed))
    assert restored.blocks.mlp.w_out[LAYER, ROW, COLUMN] == old[ROW, COLUMN]  # pyright: ignore[reportOptionalMemberAccess]


def test_one_outlier_spoils_the_scale_of_its_matrix(planted: Tiny) -> None:
    """With it clipped all other weights are rounded finer, and it comes back as it was."""
    original = planted.ours.transformer
    _, removed = search_super_weights(planted.ours, random_prompts(), ratio=10.0, most=3)
    naive, clipped = (round_network(original, 4, 0, clip) for clip in (None, 6.0))
    restored = restore_weights(clipped, original, locate_weights(removed))
    old, *new = (
        np.array(network.blocks.mlp.w_out[LAYER])  # pyright: ignore[reportOptionalMemberAccess]
        for network in (original, naive, restored)
    )
    of_naive, of_restored = (np.square(each - old).mean() for each in new)
    assert of_restored < 0.3 * of_naive


def test_the_table_of_roundings(planted: Tiny) -> None:
    reading = read_super_weight_rounding(planted.ours, random_prompts(), blocks=(8, 0), clip=6.0)
    fine, coarse = reading.tables[0].rows
    assert [fine[0], coarse[0]] == [8, "matrix"]
    assert isinstance(fine[1], float)
    assert isinstance(coarse[1], float)
    assert fine[1] < coarse[1], "a scale for few weights fits them better"
    assert reading.notes == [f"Super weights: [{LAYER}, {ROW}, {COLUMN}]."]


def test_the_share_of_the_gap() -> None:
    whole, naive, restored = np.array([1.0, 1.0]), np.array([3.0, 5.0]), np.array([2.0, 3.0])
    closed = estimate_closed(whole, naive, restored)
    assert isinstance(closed, Interval)
    assert closed.mean == pytest.approx(0.5)
    assert estimate_closed(whole[:1], naive[:1], restored[:1]) == pytest.approx(0.5)
    assert estimate_closed(whole, whole, restored) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most": 0}, "most is 0"),
        ({"others": 0}, "others is 0"),
        ({"ratio": 1.0}, "ratio is 1.0, but must be above 1"),
    ],
)
def test_refused_settings(tiny: Tiny, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_super_weights(tiny.ours, random_prompts(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "bits is 0"),
        ({"blocks": (-1,)}, "a block is -1"),
        ({"blocks": ()}, "give a block"),
        ({"clip": 0.0}, "clip > 0"),
    ],
)
def test_refused_roundings(tiny: Tiny, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_super_weight_rounding(tiny.ours, random_prompts(), **settings)


def test_models_and_prompts_to_which_it_does_not_apply(tiny: Tiny, tmp_path: Path) -> None:
    from circuitgraph.models.loading import load_model

    with pytest.raises(ArgumentError, match="'ioi' has no MLPs"):
        read_super_weights(load_model("ioi"), random_prompts())
    experts = load_tiny(save_random(tmp_path, "mixtral", **CASES["mixtral"])).ours
    with pytest.raises(ArgumentError, match="is a mixture of experts"):
        read_super_weights(experts, random_prompts())
    short = random_prompts(longest=1, batch=3)
    object.__setattr__(short, "answer", None)
    with pytest.raises(DataError, match="Prompts of one token without answers have no loss"):
        read_super_weight_rounding(tiny.ours, short)
