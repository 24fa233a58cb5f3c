"""The hybrid of a fast score and the exact search: what each part decides, resuming, refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.hybrid import Hybrid
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, DataError, UnknownNameError
from circuitgraph.graph.circuit import Circuit
from tests.checkpoints import Tiny, random_prompts


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=3, longest=5))


@pytest.fixture(scope="module")
def scores(experiment: Experiment) -> np.ndarray:
    found = run_search(make_algorithm("eap"), experiment).scores
    assert found is not None
    return found


def test_keeping_all_edges_is_acdc(experiment: Experiment) -> None:
    hybrid, exact = (
        run_search(Hybrid(keep=1.0, threshold=0.02, absolute=False), experiment),
        run_search(Acdc(threshold=0.02, absolute=False), experiment),
    )
    assert hybrid == exact
    np.testing.assert_array_equal(hybrid.scores, exact.scores)
    np.testing.assert_array_equal(hybrid.tested, exact.tested)


def test_only_the_edges_of_the_highest_scores_are_tested(
    experiment: Experiment, scores: np.ndarray
) -> None:
    circuit = run_search(Hybrid(keep=0.25, threshold=0.02, absolute=False), experiment)
    n_kept = round(0.25 * experiment.graph.n_edges)
    preselected = Circuit.top(experiment.graph, scores, n_kept).mask
    assert circuit.tested is not None
    assert not (circuit.tested & ~preselected).any()
    assert not (circuit.mask & ~circuit.tested).any()
    record = circuit.provenance["algorithm"]
    assert record["n_tested"] == circuit.tested.sum() <= n_kept
    assert record["arguments"]["keep"] == 0.25


def test_the_exact_search_starts_from_the_preselected_mask(
    experiment: Experiment, scores: np.ndarray
) -> None:
    """Its first effect is that of removing an edge from the preselected ones, and no edge comes
    back.
    """
    algorithm = Acdc(threshold=0.02, absolute=False)
    start = Circuit.top(experiment.graph, scores, 60).mask
    state = algorithm.init_state(experiment, start)
    assert state.loss == experiment.losses(start[None])[0]
    np.testing.assert_array_equal(state.mask, start)
    while len(set(algorithm.count_progress(state))) == 2:
        state = algorithm.take_step(experiment, state)
        assert not (state.mask & ~start).any()
    assert state.mask.sum() < start.sum()
    assert state.loss == pytest.approx(experiment.losses(state.mask[None])[0], abs=1e-6)


def test_a_hybrid_search_resumed_from_its_journal_ends_in_the_same_circuit(
    experiment: Experiment,
) -> None:
    algorithm = Hybrid(keep=0.2, threshold=0.02, absolute=False)
    state, written, lengths = algorithm.init_state(experiment), [], []
    start = state
    while len(set(algorithm.count_progress(state))) == 2:
        before, state = state, algorithm.take_step(experiment, state)
        written += json.loads(json.dumps(algorithm.make_entries(experiment, before, state)))
        lengths.append(len(written))
    whole = algorithm.make_circuit(experiment, state)
    for length in (0, lengths[0], lengths[len(lengths) // 2], lengths[-2]):
        again = algorithm.resume_state(experiment, start, written[:length])
        while len(set(algorithm.count_progress(again))) == 2:
            again = algorithm.take_step(experiment, again)
        found = algorithm.make_circuit(experiment, again)
        assert found == whole
        np.testing.assert_array_equal(found.scores, whole.scores)
        np.testing.assert_array_equal(found.tested, whole.tested)


def test_entries_of_another_search_are_refused(experiment: Experiment) -> None:
    algorithm = Hybrid(absolute=False)
    start = algorithm.init_state(experiment)
    for entries in ([{"edge": "embed->logits"}], [{"exact": {}}]):
        with pytest.raises(DataError, match="journal"):
            algorithm.resume_state(experiment, start, entries)


def test_metrics_that_the_score_cannot_use_are_refused(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=3, longest=5), metric="kl")
    with pytest.raises(ArgumentError) as error:
        run_search(Hybrid(scores="eap", absolute=False), experiment)
    for word in ("'hybrid'", "scores='eap'", "'kl'"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scores": "eapp"}, ["eapp", "Did you mean 'eap'"]),
        ({"scores": "acdc"}, ["'acdc'", "no scores", "eap"]),
        ({"keep": 0.0}, ["keep", "0.0", "above 0"]),
        ({"keep": 1.5}, ["keep", "1.5", "at most 1"]),
        ({"threshold": -1.0, "absolute": True}, ["threshold", "-1.0", "negative"]),
        ({"heads": "descnding"}, ["descnding", "Did you mean 'descending'"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises((ArgumentError, UnknownNameError)) as error:
        Hybrid(**settings)
    for word in words:
        assert word in str(error.value)
