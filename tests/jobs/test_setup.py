"""Setups: what a record says gives the same search again, and what is typed goes before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import circuitgraph as cg
from circuitgraph.catalog.files import load_record, save_circuit
from circuitgraph.discovery.base import make_algorithm
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from circuitgraph.jobs.discover import SearchPlan, find_circuit
from circuitgraph.jobs.setup import GraphChoice, Setup, Terms
from circuitgraph.jobs.workbench import Workbench, load_setup
from circuitgraph.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def stored(shipped: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit whose search had nothing as it is by default."""
    task = cg.load_task("induction", shipped, seed=3, bos="no", max_words=20)
    circuit = cg.discover(
        shipped,
        task,
        algorithm="eap",
        n_edges=30,
        metric="logit",
        ablation="zero",
        n_prompts=5,
        grouped=True,
    )
    folder = tmp_path_factory.mktemp("stored") / "run"
    return save_circuit(circuit, folder)


def test_a_record_gives_the_search_again(stored: Path) -> None:
    setup = Setup.from_record(load_record(stored), stored)
    assert (setup.model, setup.task, setup.seed) == ("induction-2l", "induction", 3)
    assert (setup.metric, setup.ablation, setup.n_prompts) == ("logit", "zero", 5)
    bench, old = load_setup(setup), cg.load_circuit(stored)
    again = find_circuit(bench, SearchPlan(make_algorithm("eap", n_edges=30)))
    assert again == old
    assert again.scores is not None
    assert old.scores is not None
    assert (again.scores == old.scores).all()
    for part in ("model", "task", "environment", "metric", "ablation"):
        assert again.provenance[part] == old.provenance[part], part


def test_what_is_given_goes_before_the_record(stored: Path) -> None:
    record = load_record(stored)
    setup = Setup.from_record(
        record,
        stored,
        model="other",
        task=Path("pairs.jsonl"),
        loading={"revision": "v1"},
        task_settings={"bos": "yes"},
        seed=9,
        memory=10,
    )
    assert (setup.model, setup.beside, setup.task) == ("other", None, Path("pairs.jsonl"))
    assert setup.loading == {"dtype": "float32", "revision": "v1"}
    assert setup.task_settings == {"bos": "yes"}, "nothing of another task's settings"
    assert (setup.seed, setup.memory) == (9, 10)
    added = Setup.from_record(record, stored, task_settings={"bos": "yes"})
    assert added.task_settings["bos"] == "yes"
    assert added.task_settings["max_words"] == 20


def test_a_circuit_made_by_hand_needs_a_task(shipped: LanguageModel, tmp_path: Path) -> None:
    folder = save_circuit(Circuit.full(shipped.graph()), tmp_path / "mine")
    record = load_record(folder)
    with pytest.raises(ArgumentError, match="names no task: give one with --task"):
        Setup.from_record(record, folder)
    assert Setup.from_record(record, folder, task="induction").model == "induction-2l"
    with pytest.raises(ArgumentError, match="--data needs --model"):
        Setup.from_record(record, folder, task=Path("pairs.jsonl"))


def test_graphs_are_made_in_one_place() -> None:
    model = cg.load_model("addition")
    bench = Workbench(model, cg.load_task("addition", model))
    whole = bench.make_graph(direct=True)
    assert whole == model.graph(direct=True)
    named = GraphChoice(grouped=True, granularity="neuron", refine=["m0:1,3"])
    refined = replace(bench, terms=Terms(graph=named)).make_graph()
    assert refined == model.graph(grouped=True).refine("m0", neurons=(1, 3))
    chosen = GraphChoice(granularity="neuron")
    assert chosen.chooses_units
    assert replace(bench, terms=Terms(graph=chosen)).make_graph() == model.graph()
    as_stored = bench.adopt_circuit(Circuit.full(refined))
    assert as_stored.make_graph() == refined, "also of a graph whose MLPs are in parts"
    assert isinstance(as_stored.terms.graph, Graph)
    frozen = GraphChoice(granularity="neuron", frozen_errors=True)
    with pytest.raises(ArgumentError, match="has no errors of dictionaries"):
        replace(bench, terms=Terms(graph=frozen)).make_graph()
