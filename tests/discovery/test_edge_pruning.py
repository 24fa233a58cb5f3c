"""Edge pruning: its objective by hand, its rounding, and known circuits that it returns."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitgraph.discovery.edge_pruning import EdgePruning, select_highest
from circuitgraph.discovery.loop import run_search
from tests.discovery.learning import with_worthy_edges

floats = st.floats(-50, 50, width=32)


@given(
    values=st.lists(floats | st.sampled_from([-3.0, 0.0, 10.0]), min_size=1, max_size=40),
    data=st.data(),
)
def test_rounding_keeps_exactly_as_many_as_asked_and_the_highest(
    values: list[float], data: st.DataObject
) -> None:
    n = data.draw(st.integers(0, len(values)))
    array = np.array(values, np.float32)
    kept = select_highest(array, n)
    assert kept.sum() == n
    if 0 < n < len(values):
        assert array[kept].min() >= array[~kept].max()


def test_ties_go_to_the_edge_numbered_first() -> None:
    values = np.array([1.0, 2.0, 1.0, 1.0], np.float32)
    np.testing.assert_array_equal(select_highest(values, 2), [True, True, False, False])


def test_the_objective_by_hand() -> None:
    """A Lagrangian on the gap to a target that rises linearly over the warm-up."""
    algorithm = EdgePruning(sparsity=0.8, steps=100, warmup=0.5)
    variables = {"log_alpha": jnp.zeros(4), "multipliers": jnp.array([2.0, 3.0])}
    mask = jnp.array([1.0, 0.5, 0.5, 1.0])  # a quarter is removed
    for step, target in ((0, 0.0), (25, 0.4), (50, 0.8), (99, 0.8)):
        gap = 0.25 - target
        found = algorithm.compute_objective(jnp.float32(7.0), mask, variables, jnp.int32(step))
        assert float(found) == pytest.approx(7 + 2 * gap + 3 * gap**2, abs=1e-5)


def test_multipliers_ascend_while_masks_descend() -> None:
    """As long as fewer edges are removed than asked, the linear multiplier falls and so pays for
    removal.
    """
    experiment, algorithm = with_worthy_edges(4, 0.5), EdgePruning(steps=300)
    state = algorithm.init_state(experiment)
    start = state.variables["log_alpha"].mean()
    for _ in range(60):
        state = algorithm.take_step(experiment, state)
    linear, quadratic = state.variables["multipliers"]
    assert linear < 0 < quadratic
    assert state.variables["log_alpha"].mean() < start


@pytest.mark.parametrize("n_edges", [1, 4, 11])
def test_the_circuit_has_exactly_the_number_of_edges_asked_for(n_edges: int) -> None:
    circuit = run_search(EdgePruning(n_edges=n_edges, steps=3), with_worthy_edges(4, 0.5))
    assert len(circuit) == n_edges


def test_the_share_removed_is_the_sparsity() -> None:
    experiment = with_worthy_edges(4, 0.5)
    circuit = run_search(EdgePruning(sparsity=0.75, steps=3), experiment)
    assert len(circuit) == round(0.25 * experiment.graph.n_edges)


def test_rounding_by_the_mean_mask_keeps_as_much_as_the_masks_do() -> None:
    experiment, algorithm = with_worthy_edges(4, 0.5), EdgePruning(rounding="mean")
    log_alpha = np.full(experiment.graph.n_edges, -8.0, np.float32)
    log_alpha[[2, 5, 7]] = 8.0
    log_alpha[[9, 10]] = 0.0  # two masks of 1/2: one more edge
    np.testing.assert_array_equal(np.flatnonzero(algorithm.select_edges(log_alpha)), [2, 5, 7, 9])


def test_what_is_worth_something_stays() -> None:
    experiment = with_worthy_edges(4, 1.0)
    circuit = run_search(EdgePruning(n_edges=4, steps=600), experiment)
    np.testing.assert_array_equal(circuit.mask, experiment.worth > 0)
