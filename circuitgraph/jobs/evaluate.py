"""A circuit judged by its faithfulness, on prompts that its search did not see."""

from __future__ import annotations

from circuitgraph.catalog.records import EvaluationRecord
from circuitgraph.evaluation.faithfulness import measure_faithfulness
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task


def evaluate(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *,
    metric: str | None = None,
    ablation: str | None = None,
    n_prompts: int | None = None,
    memory: int | None = None,
    bar: bool = False,
) -> EvaluationRecord:
    """Judge a circuit on unseen prompts: faithfulness, beside random circuits of equal size.

    Args:
        metric, ablation: those of the search if None (the task's metric and ``resample`` for other
            circuits).
        n_prompts: number of evaluation prompts (200 by default, or fewer if a file has fewer).
        bar: show progress and time left.

    Raises:
        GraphError: the circuit is of another model's graph.
    """
    terms = Terms(metric=metric, ablation=ablation, n_evaluation=n_prompts, memory=memory)
    return evaluate_circuit(Workbench(model, task, terms, bar), circuit)


def evaluate_circuit(bench: Workbench, circuit: Circuit) -> EvaluationRecord:
    """As `evaluate`, on a workbench."""
    bench = bench.adopt_circuit(circuit)
    prompts = bench.draw_prompts("evaluation")
    # in launches as the search had them, whose compiled programs then serve
    at_once = (circuit.provenance.get("task") or {}).get("n_prompts")
    experiment = bench.make_experiment(prompts, bench.make_graph(), at_once=at_once)
    return measure_faithfulness(
        experiment, circuit, prompts, split="evaluation", seed=bench.task.seed, bar=bench.bar
    )
