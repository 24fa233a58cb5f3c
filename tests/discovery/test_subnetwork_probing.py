"""Subnetwork probing on edges: its objective by hand, and known circuits that it returns."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.subnetwork_probing import SubnetworkProbing
from tests.discovery.learning import with_worthy_edges


def test_the_objective_by_hand() -> None:
    """The price is paid for the mean probability that a mask is not zero; for plain sigmoids, the
    mean mask.
    """
    log_alpha = np.array([-2.0, 0.0, 3.0], np.float32)
    variables, mask = {"log_alpha": jnp.asarray(log_alpha)}, jnp.array([0.0, 0.4, 1.0])
    not_zero = expit(
        log_alpha.astype(float) + np.log(11) * 2 / 3
    )  # -0.1 and 1.1 are the ends of the stretch
    hard = SubnetworkProbing(regularisation=5.0).compute_objective(
        jnp.float32(7.0), mask, variables, jnp.int32(0)
    )
    assert float(hard) == pytest.approx(7 + 5 * not_zero.mean(), rel=1e-6)
    soft = SubnetworkProbing(regularisation=5.0, masks="sigmoid")
    assert float(
        soft.compute_objective(jnp.float32(7.0), mask, variables, jnp.int32(0))
    ) == pytest.approx(7 + 5 * 1.4 / 3)


@pytest.mark.parametrize("masks", ["hard-concrete", "sigmoid"])
def test_masks_start_at_nine_tenths(masks: str) -> None:
    """With the noise at its median."""
    algorithm = SubnetworkProbing(masks=masks)
    log_alpha = algorithm.init_variables(3)["log_alpha"]
    value = expit(float(log_alpha[0]))
    assert (value if masks == "sigmoid" else value * 1.2 - 0.1) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("masks", ["hard-concrete", "sigmoid"])
def test_edges_stay_that_are_worth_their_price(masks: str) -> None:
    experiment = with_worthy_edges(4, 1.0)
    circuit = run_search(SubnetworkProbing(regularisation=5.0, masks=masks, steps=200), experiment)
    np.testing.assert_array_equal(circuit.mask, experiment.worth > 0)
    assert circuit.scores is not None
    np.testing.assert_array_equal(circuit.mask, circuit.scores > 0)


def test_too_high_a_price_leaves_nothing_and_none_keeps_all() -> None:
    experiment = with_worthy_edges(4, 0.01)
    assert len(run_search(SubnetworkProbing(regularisation=1000.0, steps=200), experiment)) == 0
    free = run_search(SubnetworkProbing(regularisation=0.0, steps=20), experiment)
    assert len(free) == experiment.graph.n_edges


@pytest.mark.parametrize("n_edges", [1, 4, 9])
def test_a_number_of_edges_takes_the_highest_masks(n_edges: int) -> None:
    experiment = with_worthy_edges(4, 1.0)
    circuit = run_search(SubnetworkProbing(n_edges=n_edges, steps=200), experiment)
    assert len(circuit) == n_edges
    assert circuit.scores is not None
    assert circuit.scores[circuit.mask].min() >= circuit.scores[~circuit.mask].max()
    worthy = experiment.worth > 0
    assert (circuit.mask & worthy).sum() == min(n_edges, 4)
