"""Many thresholds in one run: each circuit is that of a search at its threshold alone, and common
tests are shared.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.journal import Journal
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.sweep import Sweep, SweepResult, run_sweep
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from tests.checkpoints import Tiny, random_prompts

THRESHOLDS = (-0.01, 0.0, 0.003, 0.0031, 0.02, 0.1, 1e9)
SIGNED = Acdc(absolute=False)
pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=4, longest=6), metric="kl")


def same(one: Circuit, two: Circuit) -> None:
    """Equal bit for bit, and found by the same settings with the same close calls."""
    assert one == two
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.tested, two.tested)
    left_out = {"seconds"}
    records = [
        {k: v for k, v in c.provenance["algorithm"].items() if k not in left_out}
        for c in (one, two)
    ]
    assert records[0] == records[1]


@pytest.mark.parametrize("absolute", [False, True])
def test_each_circuit_is_that_of_a_search_alone(experiment: Experiment, absolute: bool) -> None:
    thresholds = [t for t in THRESHOLDS if t >= 0 or not absolute]
    chosen = Acdc(absolute=absolute, heads="ascending")
    found = run_sweep(Sweep(tuple(thresholds), chosen), experiment)
    alone = [run_search(replace(chosen, threshold=t), experiment) for t in thresholds]
    for one, two in zip(found.circuits, alone, strict=True):
        same(one, two)
    assert len({len(circuit) for circuit in alone}) >= 5, "branches that never split show nothing"
    assert found.n_alone == sum(int(c.tested.sum()) for c in alone if c.tested is not None)
    for circuit, loss in zip(found.circuits, found.losses, strict=True):
        assert loss == pytest.approx(experiment.losses(circuit.mask[None])[0], abs=1e-6)


def test_what_is_shared_is_asked_once(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thresholds with no effect between them cost no more than one, and every question is put
    once.
    """
    honest, asked = experiment.removal_losses, []

    def counted(
        mask: np.ndarray, edges: np.ndarray, going: np.ndarray, **options: bool
    ) -> np.ndarray:
        asked.append((mask.tobytes(), edges.tobytes()))
        return honest(mask, edges, going, **options)

    monkeypatch.setattr(experiment, "removal_losses", counted)
    alone = run_search(Acdc(threshold=0.02, absolute=False), experiment)
    n_alone = len(asked)
    assert alone.scores is not None
    effects = np.sort(alone.scores)
    nearest = effects[effects > 0.02][0]
    asked.clear()
    both = run_sweep(Sweep((0.02, float((0.02 + nearest) / 2)), SIGNED), experiment)
    assert len(asked) == n_alone
    assert alone.tested is not None
    assert (both.n_tested, both.n_alone) == (alone.tested.sum(), 2 * alone.tested.sum())
    asked.clear()
    many = run_sweep(Sweep(THRESHOLDS, SIGNED), experiment)
    assert len(set(asked)) == len(asked)
    assert many.n_tested < many.n_alone


def test_one_branch_is_finished_before_the_next(experiment: Experiment) -> None:
    steps = Sweep((0.0, 0.01, 0.1), SIGNED)
    state = steps.init_state(experiment)
    while len(set(steps.count_progress(state))) == 2:
        before, state = state, steps.take_step(experiment, state)
        assert state.open[: len(before.open) - 1] == before.open[:-1]
    assert [t for t, _ in state.ended] == [0.0, 0.01, 0.1], "the lowest threshold goes first"


@pytest.fixture(scope="module")
def journalled(
    experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SweepResult, Path]:
    """An undisturbed sweep and its journal."""
    path = tmp_path_factory.mktemp("whole") / "journal.jsonl"
    return run_sweep(Sweep(THRESHOLDS[1:5], SIGNED), experiment, journal=Journal(path)), path


@given(share=st.floats(0, 1))
@settings(max_examples=4)
def test_a_sweep_is_taken_up_where_it_ended(
    experiment: Experiment,
    journalled: tuple[SweepResult, Path],
    tmp_path_factory: pytest.TempPathFactory,
    share: float,
) -> None:
    whole, content = journalled[0], journalled[1].read_bytes()
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    path.write_bytes(content[: int(share * len(content))])
    again = run_sweep(Sweep(THRESHOLDS[1:5], SIGNED), experiment, journal=Journal(path))
    assert again.n_tested == whole.n_tested
    assert again.losses == whole.losses
    for one, two in zip(again.circuits, whole.circuits, strict=True):
        same(one, two)


def test_every_state_of_a_sweep_comes_back_from_its_entries(experiment: Experiment) -> None:
    steps = Sweep(THRESHOLDS, SIGNED)
    start = state = steps.init_state(experiment)
    entries = []
    while len(set(steps.count_progress(state))) == 2:
        before, state = state, steps.take_step(experiment, state)
        entries += steps.make_entries(experiment, before, state)
    back = steps.resume_state(experiment, start, entries)
    assert back.n_tested == state.n_tested
    assert back.open == ()
    for (t, ours), (u, theirs) in zip(back.ended, state.ended, strict=True):
        assert (t, ours.loss, ours.n_candidates) == (u, theirs.loss, theirs.n_candidates)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.scale, theirs.scale)


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ((), "at least one"),
        ((0.1, 0.1), "0.1 was given twice"),
        ((0.01, 0.1, 0.03), "number 3, 0.03, comes after 0.1. In order: 0.01, 0.03, 0.1."),
        ((0.1, float("nan")), "threshold number 2 is nan"),
        ((0.1, float("inf")), "threshold number 2 is inf"),
    ],
)
def test_thresholds_that_are_no_curve_are_refused(
    thresholds: tuple[float, ...], words: str
) -> None:
    with pytest.raises(ArgumentError) as error:
        Sweep(thresholds)
    assert words in str(error.value)


def test_negative_thresholds_are_refused_where_the_sign_does_not_count() -> None:
    with pytest.raises(ArgumentError, match=r"-0\.1"):
        Sweep((-0.1, 0.1), Acdc(absolute=True))
