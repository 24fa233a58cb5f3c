"""ACDC's own laws: order, strictness, dead nodes, speculation, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from transformers import GPT2Config

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.discovery import acdc
from circuitgraph.discovery.acdc import Acdc, order_removals
from circuitgraph.discovery.acdc_state import AcdcState, Measurement
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, SearchError, UnknownNameError
from circuitgraph.graph.graph import Graph
from tests.checkpoints import Tiny, random_prompts
from tests.oracle.acdc import visits


@pytest.fixture(scope="module")
def experiment(tiny: Tiny) -> Experiment:
    return Experiment(tiny.ours, random_prompts(batch=4, longest=6), metric="kl")


@pytest.mark.parametrize("heads", ["descending", "ascending"])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("mlp", [False, True])
def test_edges_are_visited_in_the_references_order(
    mlp: bool, direct: bool, heads: Literal["descending", "ascending"]
) -> None:
    config = GPT2Config(n_layer=3, n_head=4, n_embd=8, bos_token_id=None, eos_token_id=None)
    graph = Graph(3, 4, mlp=mlp, direct=direct)
    order = np.concatenate(order_removals(graph, heads))
    ours = [graph.edges[i] for i in order]
    theirs = []
    for receiver, senders in visits(config, direct=direct, heads=heads, mlp=mlp):
        theirs += [f"{sender}->{receiver}" for sender in senders]
    assert ours == theirs


def test_every_edge_is_in_exactly_one_group() -> None:
    graph = Graph(4, 3, direct=True)
    assert sorted(np.concatenate(order_removals(graph, "descending"))) == list(range(graph.n_edges))


def test_speculation_changes_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: a row's value does not depend on what it is batched with."""
    batched = run_search(Acdc(threshold=0.01, absolute=False), experiment)
    monkeypatch.setattr(acdc, "_count_next_candidates", lambda *_: 1)
    alone = run_search(Acdc(threshold=0.01, absolute=False), experiment)
    assert batched == alone
    np.testing.assert_array_equal(batched.scores, alone.scores)
    np.testing.assert_array_equal(batched.tested, alone.tested)


def test_short_launches_change_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, as fewer edges are then asked about at a time."""
    long = run_search(Acdc(threshold=0.01, absolute=False), experiment)
    asked: list[int] = []
    ask = experiment.removal_losses

    def note(
        mask: np.ndarray, edges: np.ndarray, *given: np.ndarray, **options: bool
    ) -> np.ndarray:
        asked.append(len(edges))
        return ask(mask, edges, *given, **options)

    monkeypatch.setattr(experiment, "removal_losses", note)
    monkeypatch.setattr(experiment, "count_candidates", lambda *_: 2)
    short = run_search(Acdc(threshold=0.01, absolute=False), experiment)
    assert max(asked) == 2
    assert short == long
    np.testing.assert_array_equal(short.scores, long.scores)


def test_guesses_change_nothing(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: neither good guesses, nor none, nor only wrong ones."""
    guessed = run_search(Acdc(threshold=0.01, absolute=False), experiment)
    honest = Acdc.measure_candidates

    def forgetful(self: Acdc, experiment: Experiment, state: AcdcState) -> Measurement:
        return honest(
            self, experiment, replace(state, expected=np.full_like(state.expected, np.nan))
        )

    def perverse(self: Acdc, experiment: Experiment, state: AcdcState) -> Measurement:
        wrong = np.where(guessed.mask, -1.0, 1.0)
        return honest(self, experiment, replace(state, expected=wrong))

    for measure in (forgetful, perverse):
        monkeypatch.setattr(Acdc, "measure_candidates", measure)
        found = run_search(Acdc(threshold=0.01, absolute=False), experiment)
        assert found == guessed
        np.testing.assert_array_equal(found.scores, guessed.scores)


def test_a_search_can_be_taken_up_between_any_two_steps(experiment: Experiment) -> None:
    """All that has been decided lies in the state: a copy of it, taken anywhere, ends in the same
    circuit.
    """
    algorithm = Acdc(threshold=0.01, absolute=False)
    whole = run_search(algorithm, experiment)
    state = algorithm.init_state(experiment)
    for _ in range(5):
        state = algorithm.take_step(experiment, state)
    taken_up = AcdcState(**{name: getattr(state, name) for name in state.__dataclass_fields__})
    taken_up = replace(taken_up, mask=state.mask.copy())
    while len(set(algorithm.count_progress(taken_up))) == 2:
        taken_up = algorithm.take_step(experiment, taken_up)
    assert algorithm.make_circuit(experiment, taken_up) == whole
    np.testing.assert_array_equal(algorithm.make_circuit(experiment, taken_up).scores, whole.scores)


def test_steps_leave_earlier_states_alone(experiment: Experiment) -> None:
    algorithm = Acdc(threshold=0.01, absolute=False)
    first = algorithm.init_state(experiment)
    algorithm.take_step(experiment, first)
    assert first.mask.all()
    assert not first.tested.any()


def test_same_search_twice_is_the_same_bit_for_bit(experiment: Experiment) -> None:
    one, two = (run_search(Acdc(threshold=0.02, absolute=False), experiment) for _ in range(2))
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one == two


def test_effects_are_differences_of_losses(experiment: Experiment) -> None:
    """Replaying the decisions one by one gives the effects that the circuit keeps."""
    circuit = run_search(Acdc(threshold=0.02, absolute=False), experiment)
    assert circuit.scores is not None
    assert circuit.tested is not None
    mask = np.ones(experiment.graph.n_edges, bool)
    loss = experiment.losses(mask[None])[0]
    for edge in np.concatenate(order_removals(experiment.graph, "descending")):
        without = mask.copy()
        without[edge] = False
        new = experiment.losses(without[None])[0]
        if circuit.tested[edge]:
            assert circuit.scores[edge] == pytest.approx(new - loss, abs=1e-12)
            assert circuit.mask[edge] == (new - loss >= 0.02)
        else:
            assert new == pytest.approx(loss, abs=1e-6), "an edge into a dead node cannot matter"
        if not circuit.mask[edge]:
            mask, loss = without, new


def test_the_result_of_a_bare_search_can_be_saved_and_loaded(
    experiment: Experiment, tmp_path: Path
) -> None:
    circuit = run_search(Acdc(threshold=0.02, absolute=False), experiment)
    loaded = load_circuit(save_circuit(circuit, tmp_path / "run"))
    assert loaded == circuit
    assert loaded.provenance["algorithm"] == circuit.provenance["algorithm"]
    assert loaded.provenance["algorithm"]["arguments"]["threshold"] == 0.02
    assert loaded.provenance["metric"] == "kl"


def test_thresholds_at_the_ends(experiment: Experiment) -> None:
    assert len(run_search(Acdc(threshold=1e9, absolute=False), experiment)) == 0
    lowest = run_search(Acdc(threshold=-1e9, absolute=False), experiment)
    assert len(lowest) == experiment.graph.n_edges
    assert lowest.tested is not None
    assert lowest.tested.all()


def test_at_zero_equality_keeps_the_edge(tiny: Tiny) -> None:
    """On identical clean and corrupted prompts no removal has any effect, and strictly less than
    zero is none.
    """
    prompts = random_prompts()
    same = replace(prompts, corrupted=prompts.clean)
    experiment = Experiment(tiny.ours, same, metric="accuracy")
    assert (
        len(run_search(Acdc(threshold=0.0, absolute=False), experiment)) == experiment.graph.n_edges
    )


def test_absolute_keeps_what_the_signed_test_removes(tiny: Tiny) -> None:
    experiment = Experiment(tiny.ours, random_prompts(batch=4, longest=6))
    signed = run_search(Acdc(threshold=0.05, absolute=False), experiment)
    absolute = run_search(Acdc(threshold=0.05, absolute=True), experiment)
    assert signed.scores is not None
    assert (signed.scores < -0.05).any(), "without a harmful edge this test shows nothing"
    assert absolute.scores is not None
    assert (absolute.scores[absolute.mask] < -0.05).any()
    assert len(absolute) > len(signed)


def test_decisions_within_noise_are_reported(experiment: Experiment) -> None:
    """A threshold right at the effect of the first edge makes that decision a close call, and no
    other.
    """
    first = np.concatenate(order_removals(experiment.graph, "descending"))[0]
    every = run_search(Acdc(threshold=-1e9, absolute=False), experiment)
    assert every.scores is not None
    assert every.provenance["algorithm"]["close_calls"] == []
    aimed = run_search(Acdc(threshold=float(every.scores[first]), absolute=False), experiment)
    assert experiment.graph.edges[first] in aimed.provenance["algorithm"]["close_calls"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": float("nan")}, ["threshold", "nan", "finite"]),
        ({"threshold": float("inf")}, ["threshold", "inf", "finite"]),
        ({"threshold": -0.1, "absolute": True}, ["threshold", "-0.1", "negative"]),
        ({"heads": "descnding"}, ["descnding", "Did you mean 'descending'"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    experiment: Experiment, settings: dict, words: list[str]
) -> None:
    with pytest.raises((ArgumentError, UnknownNameError)) as error:
        run_search(Acdc(**settings), experiment)
    for word in words:
        assert word in str(error.value)


def test_a_metric_that_is_not_finite_stops_the_search_and_names_the_edge(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = experiment._masked._run_launch

    def broken(masks: np.ndarray, chunk: object) -> np.ndarray:
        values = honest(masks, chunk).copy()  # pyright: ignore[reportArgumentType]
        values[~masks.all(axis=1), 2] = np.nan
        return values

    monkeypatch.setattr(experiment._masked, "_run_launch", broken)
    first = np.concatenate(order_removals(experiment.graph, "descending"))[0]
    with pytest.raises(SearchError, match="Without any edge: kl of prompt 3 is nan"):
        run_search(Acdc(), experiment)
    with pytest.raises(SearchError, match="kl of prompt 3 is nan") as error:
        run_search(Acdc(threshold=0.1, absolute=False), experiment)
    assert f"Removing {experiment.graph.edges[first]}:" in str(error.value)


def test_unknown_algorithms_and_settings_get_suggestions() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'acdc'"):
        make_algorithm("acd")
    with pytest.raises(UnknownNameError, match="Did you mean 'threshold'"):
        make_algorithm("acdc", treshold=1.0)
