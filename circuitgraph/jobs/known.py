"""Models whose circuit is known: by their program, or by the ``truth.json`` beside the weights."""

from __future__ import annotations

from pathlib import Path

from circuitgraph.catalog.files import load_circuit
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.constructed.compile import FAMILY
from circuitgraph.models.constructed.named_programs import load_constructed
from circuitgraph.models.constructed.truth import find_true_edges
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts

TRUTH_FILE = "truth.json"


def find_known_circuit(
    model: LanguageModel, task: Task, prompts: Prompts, ablation: str = "resample"
) -> Circuit | None:
    """The true circuit of a model for a task, None where nobody knows it.

    Args:
        prompts: what the true circuit of a constructed model depends on: those that a search sees.

    Raises:
        ArgumentError: an ablation under which a constructed model's true circuit is not known.
        DataError: a damaged ``truth.json``.
    """
    if model.family == FAMILY:
        if task.name != model.name:
            return None
        edges = find_true_edges(load_constructed(model.name), prompts.pairs, ablation)
        return Circuit.of(model.graph(), edges)
    file = Path(model.location) / TRUTH_FILE
    if not file.is_file():
        return None
    circuit = load_circuit(file)
    record = circuit.provenance.get("task")
    # The arguments count too: with another corruption the true circuit is another one.
    if record is None or (record["name"], record["arguments"]) == (task.name, dict(task.arguments)):
        return circuit
    return None
