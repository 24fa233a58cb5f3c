"""Path patching: against hooks on transformers' model and edge masks, and on a known circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.named_nodes import find_readers, find_writers
from circuitgraph.analysis.path_patches import Through, patch_paths
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError
from circuitgraph.models.language_model import LanguageModel
from tests.checkpoints import Tiny, load_tiny, random_prompts
from tests.oracle.path_patching import HookedPaths
from tests.parity.cases import CASES
from tests.parity.harness import save_random

PATHS = [  # senders, receivers
    (["a0.h1"], ["logits"]),
    (["a0.h1", "a0.h2", "m1"], ["a2.h1<q>", "a2.h3<v>"]),
    (["a0.h0"], ["a1.h2<k>", "a2.h0<q>", "m2"]),  # receivers that others stand before
    (["embed", "a1.h0"], ["m1", "m2", "logits"]),
]


@pytest.mark.parametrize("through", get_args(Through))
@pytest.mark.parametrize(("senders", "receivers"), PATHS)
def test_as_hooks_do_it(
    tiny: Tiny, senders: list[str], receivers: list[str], through: Through
) -> None:
    prompts, graph = random_prompts(), tiny.ours.graph()
    hooked = HookedPaths(
        tiny.hf, *(torch.tensor(x).long() for x in (prompts.clean, prompts.corrupted, prompts.mask))
    )
    logits = hooked.patch(senders, receivers, through_mlps=through == "mlps")
    rows = np.arange(len(prompts))
    last = logits[rows, prompts.score_at].numpy()
    theirs = last[rows, prompts.answer] - last[rows, prompts.distractor]
    ours = patch_paths(
        tiny.ours,
        prompts,
        [find_writers(graph, senders)],
        find_readers(graph, receivers),
        through=through,
    )
    assert np.abs(ours.patched[0] - ours.clean).max() > 0.01, "the patch does something"
    np.testing.assert_allclose(ours.patched[0], theirs, atol=2e-4)


def test_direct_paths_are_absent_edges(tiny: Tiny) -> None:
    prompts, graph = random_prompts(), tiny.ours.graph()
    senders, readers = find_writers(graph, ["heads"])[:6], find_readers(graph, ["a2.h1", "a2.h0"])
    dst, src = graph.ends
    masks = np.stack([~((src == sender) & np.isin(dst, readers)) for sender in senders])
    experiment = Experiment(tiny.ours, prompts, frontier=False)
    measured = patch_paths(tiny.ours, prompts, [[i] for i in senders], readers, through="direct")
    np.testing.assert_allclose(measured.patched, experiment.values(masks), atol=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox"])  # post-norms; parallel blocks
@pytest.mark.parametrize("through", get_args(Through))
def test_all_senders_into_the_logits_are_the_corrupted_run(
    family: str, through: Through, tmp_path: Path
) -> None:
    model = load_tiny(save_random(tmp_path, family, **CASES[family])).ours
    everything = list(range(len(model.graph().writers)))
    logits = find_readers(model.graph(), ["logits"])
    measured = patch_paths(model, random_prompts(), [everything, []], logits, through=through)
    size = np.abs(measured.clean).max()
    np.testing.assert_allclose(measured.patched[0], measured.corrupted, atol=1e-4 * size)
    np.testing.assert_allclose(measured.patched[1], measured.clean, atol=1e-4 * size)
    assert np.abs(measured.clean - measured.corrupted).max() > 0.01 * size


@pytest.fixture(scope="module")
def ioi() -> LanguageModel:
    return cg.load_model("ioi")


@pytest.mark.parametrize(
    ("receiver", "sender"), [("logits", "a2.h2"), ("a2.h2<q>", "a1.h0"), ("a1.h0<k>", "a0.h1")]
)
def test_the_known_circuit_shows_path_by_path(
    ioi: LanguageModel, receiver: str, sender: str
) -> None:
    task = cg.load_task("ioi", ioi)
    reading = cg.analyze(ioi, task, "path-patching", receivers=[receiver], n_prompts=16).reading
    strongest, second = reading.tables[0].rows[:2]
    assert strongest[0] == sender
    assert isinstance(strongest[3], Interval)
    assert isinstance(strongest[4], Interval)
    assert isinstance(second[4], Interval)
    assert strongest[4].mean > 0.9
    assert abs(second[4].mean) < 0.1
    picture = reading.pictures[0]
    assert isinstance(picture, HeatmapRecord)
    assert picture.values[int(sender[1])][int(sender[-1])] == pytest.approx(strongest[3].mean)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "head": ({"senders": ["a7.h0"]}, cg.errors.UnknownNameError, "Unknown writer 'a7.h0'"),
    "receiver": ({"receivers": ["a1.h9<q>"]}, cg.errors.UnknownNameError, "reader 'a1.h9<q>'"),
    "embedding": ({"receivers": ["embed"]}, cg.errors.UnknownNameError, "reader 'embed'"),
    "none": ({"receivers": []}, ArgumentError, "No receiver was named"),
    "late": (
        {"senders": ["a2.h0"], "receivers": ["a1.h0"]},
        ArgumentError,
        "None of the senders a2.h0 comes before one of the receivers a1.h0",
    ),
    "through": ({"through": "heads"}, ArgumentError, "expected one of direct, mlps"),
    "metric": ({"metric": "logits"}, cg.errors.UnknownNameError, "Unknown metric 'logits'"),
    "top": ({"top": 0}, ArgumentError, "top is 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(ioi: LanguageModel, case: str) -> None:
    settings, error, message = BAD[case]
    with pytest.raises(error) as caught:
        cg.analyze(ioi, cg.load_task("ioi", ioi), "path-patching", n_prompts=4, **settings)
    assert isinstance(caught.value, CircuitGraphError)
    assert message in str(caught.value)


def test_pairs_are_needed(tiny: Tiny) -> None:
    alone = random_prompts()
    object.__setattr__(alone, "corrupted", None)
    with pytest.raises(DataError, match="path patching needs a corrupted prompt"):
        patch_paths(tiny.ours, alone, [[1]], [0])
