"""Every algorithm ends with every metric and every ablation, or refuses the pair by name before
anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from circuitgraph.discovery.base import Algorithm, algorithms, make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.ablation import ablations
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.tasks.metrics import metrics
from tests.checkpoints import Tiny, random_prompts, save_tiny

Ask = Callable[[str, str], Experiment]
SHORT: dict[str, dict[str, Any]] = {  # settings that make a search short, where the default is not
    "edge-pruning": {"steps": 3},
    "subnetwork-probing": {"steps": 3},
    "eap-ig-inputs": {"steps": 2},
    "eap-ig-activations": {"steps": 1},
}


@pytest.fixture(scope="module")
def smallest(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return save_tiny(tmp_path_factory.mktemp("smallest"), n_layer=1, n_head=2)


@pytest.fixture(scope="module")
def ask(smallest: Tiny) -> Ask:
    """The experiment of a metric and an ablation, made once."""
    return cache(
        lambda metric, ablation: Experiment(
            smallest.ours, random_prompts(batch=2, longest=4), metric=metric, ablation=ablation
        )
    )


def ends_or_refuses(experiment: Experiment, name: str) -> None:
    algorithm = make_algorithm(name, **SHORT.get(name, {}))
    if (refusal := refused(algorithm, experiment)) is not None:
        assert repr(name) in refusal
        assert repr(experiment.metric.name) in refusal or repr(experiment.ablation.name) in refusal
        with pytest.raises(ArgumentError):
            run_search(algorithm, experiment)
        return
    circuit = run_search(algorithm, experiment)
    assert isinstance(circuit, Circuit)
    assert circuit.tested is not None
    assert circuit.graph == experiment.graph


def refused(algorithm: Algorithm[Any], experiment: Experiment) -> str | None:
    """Why an algorithm does not work with an experiment's metric and ablation, if it does not."""
    try:
        algorithm.check_metric(experiment.metric, experiment.ablation)
    except ArgumentError as error:
        return str(error)
    return None


@pytest.mark.parametrize("metric", metrics.names())
@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_takes_or_refuses_every_metric(ask: Ask, name: str, metric: str) -> None:
    ends_or_refuses(ask(metric, "resample"), name)


@pytest.mark.parametrize("ablation", ablations.names())
@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_takes_or_refuses_every_ablation(
    ask: Ask, name: str, ablation: str
) -> None:
    ends_or_refuses(ask("logit_difference", ablation), name)


@pytest.mark.parametrize("name", algorithms.names())
def test_every_algorithm_works_with_the_commonest_metric(name: str) -> None:
    """No algorithm passes the tests above by refusing all."""
    for ablation in ablations.names():
        make_algorithm(name).check_metric(metrics["logit_difference"], ablations[ablation])
