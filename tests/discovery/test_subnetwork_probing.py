"""Subnetwork probing on edges: its objective by hand, and known circuits that it returns."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from circuitgraph.discovery.learned_masks import MaskState
from circuitgraph.discovery.loop import run_search
from circuitgraph.discovery.subnetwork_probing import SubnetworkProbing
from circuitgraph.errors import SearchError
from circuitgraph.graph.graph import Graph
from tests.discovery.learning import Linear, with_worthy_edges


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


FIVE = Graph(1, 1, mlp=False)  # embed to q, k, v and logits; the head to logits


def select_from(order: list[str], n_edges: int) -> list[str]:
    """The circuit of masks that ended above 1/2 in this order, the first one highest."""
    log_alpha = np.zeros(FIVE.n_edges, np.float32)
    for place, edge in enumerate(order):
        log_alpha[FIVE.edge_index(edge)] = len(order) - place
    state = MaskState(1, {"log_alpha": log_alpha}, ())
    experiment = Linear(np.zeros(FIVE.n_edges), FIVE)
    return sorted(SubnetworkProbing(n_edges=n_edges).make_circuit(experiment, state).edges)


def test_a_number_of_edges_takes_the_highest_masks_that_are_connected() -> None:
    order = ["embed->a0.h0<q>", "a0.h0->logits", "embed->a0.h0<v>", "embed->logits"]
    for n in (2, 3, 4):
        assert select_from(order, n) == sorted(order[:n])


def test_masks_that_hang_in_the_air_do_not_count() -> None:
    """After embed -> logits come two inputs of a head that nothing reads; the third mask more,
    head -> logits, connects all of them at once.
    """
    order = ["embed->logits", "embed->a0.h0<q>", "embed->a0.h0<v>", "a0.h0->logits"]
    for n in (1, 2, 3):
        assert select_from(order, n) == ["embed->logits"]
    assert select_from(order, 4) == sorted(order)


def test_fewer_edges_than_any_connected_circuit_has_are_refused() -> None:
    order = ["embed->a0.h0<q>", "embed->a0.h0<k>", "embed->a0.h0<v>", "a0.h0->logits"]
    with pytest.raises(SearchError, match=r"n_edges is 3, but .* are 4 edges.*regularisation"):
        select_from(order, 3)


def test_more_edges_than_are_worth_their_price_are_taken_too() -> None:
    experiment = with_worthy_edges(4, 1.0)
    n_all = experiment.graph.n_edges
    circuit = run_search(SubnetworkProbing(n_edges=n_all, steps=20), experiment)
    assert len(circuit) == n_all
