"""Readings of a circuit's nodes and edges, beside transformers and beside other readings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from circuitgraph.analysis.circuit_nodes import read_circuit_edges, read_circuit_nodes
from circuitgraph.catalog.analysis_record import HeatmapRecord
from circuitgraph.catalog.files import load_circuit
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.readings.direct import run_direct
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model, shipped_models
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts

ENTRY = "catalog/circuits/induction-2l/induction/acdc"


@pytest.fixture(scope="module")
def circuit(request: pytest.FixtureRequest) -> Circuit:
    return load_circuit(request.config.rootpath / ENTRY)


@pytest.fixture(scope="module")
def prompts(shipped: LanguageModel) -> Prompts:
    return load_task("induction", shipped, seed=0).prompts(3, "evaluation")


def test_patterns_types_and_tokens_of_the_first_prompt(
    shipped: LanguageModel, prompts: Prompts, circuit: Circuit
) -> None:
    readings = read_circuit_nodes(shipped, prompts, circuit)
    reading = readings["on one prompt"]
    ids = prompts.clean[0][prompts.mask[0]]
    oracle = AutoModelForCausalLM.from_pretrained(
        shipped_models()["induction-2l"], attn_implementation="eager"
    )
    attentions = oracle(torch.tensor(ids[None]), output_attentions=True).attentions
    for picture, (layer, head) in zip(reading.pictures, [(0, 3), (1, 6)], strict=True):
        assert isinstance(picture, HeatmapRecord)
        wanted = attentions[layer][0, head].detach().numpy()
        np.testing.assert_allclose(np.array(picture.values, float), wanted, atol=1e-5)
        assert list(picture.row_labels) == shipped.text_tokenizer.tokens(ids.tolist())
    rows = {str(row[0]): row for row in reversed(reading.tables[0].rows)}  # the first rank of each
    assert prompts.answer is not None
    answer = int(prompts.answer[0])
    assert rows["a1.h6"][1] == shipped.text_tokenizer.decode_answer(answer)
    direct = run_direct(shipped.transformer, make_batch(prompts), False)
    raised = np.asarray(direct.heads)[1, 6, 0].sum()
    np.testing.assert_allclose(float(str(rows["a1.h6"][2])), raised, rtol=1e-4)
    named = [row[:2] for row in readings["type"].tables[0].rows if row[3]]
    assert named == [["a0.h3", "previous-token"], ["a1.h6", "induction"]]


def test_what_prompts_lose_without_an_edge(
    shipped: LanguageModel, prompts: Prompts, circuit: Circuit
) -> None:
    experiment = Experiment(shipped, prompts, graph=circuit.graph, metric="logit_difference")
    reading = read_circuit_edges(experiment, prompts, circuit)
    assert reading is not None
    edge = circuit.edges[2]
    rows = [row for row in reading.tables[0].rows if row[0] == edge]
    assert [row[1] for row in rows] == [pair.clean for pair in prompts.pairs]
    whole, without = (
        experiment.values(c.mask[None])[0] for c in (circuit, circuit.without([edge]))
    )
    np.testing.assert_allclose([float(str(row[2])) for row in rows], whole - without, atol=1e-4)
    assert read_circuit_edges(experiment, prompts, Circuit.full(circuit.graph)) is None


def test_units_of_a_circuit_have_their_report() -> None:
    model = load_model("addition")
    prompts = load_task("addition", model, seed=0).prompts(3, "evaluation")
    graph = model.graph().refine("m0", neurons=[3, 5])
    readings = read_circuit_nodes(model, prompts, Circuit.of(graph, ["embed->m0", "m0.n3->logits"]))
    assert {str(row[0]) for row in readings["unit"].tables[0].rows} == {"m0.n3"}
    assert [row[0] for row in readings["on one prompt"].tables[0].rows][::8] == ["embed"]
