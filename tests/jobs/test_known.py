"""Where the true circuit of a model is known, and that exact search finds the one that training
guarantees.
"""

from __future__ import annotations

import pytest

import circuitgraph as cg
from circuitgraph.evaluation.truth import compare_with_truth
from circuitgraph.jobs.judge import choose_ranking_scores
from circuitgraph.jobs.known import find_known_circuit
from circuitgraph.models.language_model import LanguageModel


@pytest.fixture(scope="module")
def ioi() -> LanguageModel:
    return cg.load_model("ioi")


def test_a_constructed_models_program_knows_it() -> None:
    model = cg.load_model("constructed:reverse")
    task = cg.load_task("constructed:reverse", model)
    found = find_known_circuit(model, task, task.prompts(10))
    assert found is not None
    assert found.edges == ["embed->a2.h0<v>", "a2.h0->logits"]


def test_a_trained_models_file_knows_it_for_its_task_alone(ioi: LanguageModel) -> None:
    task = cg.load_task("ioi", ioi)
    found = find_known_circuit(ioi, task, task.prompts(2))
    assert found is not None
    assert set(found.nodes) == {"embed", "a0.h1", "a1.h0", "a2.h2", "logits"}
    other = cg.load_task("ioi", ioi, corruption="swap")
    assert find_known_circuit(ioi, other, other.prompts(2)) is None


def test_of_most_models_nobody_knows_it(shipped: LanguageModel) -> None:
    task = cg.load_task("induction", shipped)
    assert find_known_circuit(shipped, task, task.prompts(2)) is None


def test_acdc_finds_what_training_guarantees(ioi: LanguageModel) -> None:
    """The aim: a ROC AUC of at least 0.95, the published median over such models (Gupta et al.
    2024).
    """
    task = cg.load_task("ioi", ioi)
    circuit = cg.discover(ioi, task, metric="kl", threshold=0.1, n_prompts=24)
    true = find_known_circuit(ioi, task, task.prompts(2))
    assert true is not None
    agreement = compare_with_truth(circuit, true, choose_ranking_scores(circuit))
    assert agreement.edges.auroc is not None
    assert agreement.promoted.auroc is not None
    assert min(agreement.edges.auroc, agreement.promoted.auroc) >= 0.95
