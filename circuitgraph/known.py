"""Models whose circuit is known: constructed ones by their program, trained ones by the
``truth.json`` beside them.
"""

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


def known_circuit(
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
    found = load_circuit(file)
    about = found.provenance.get("task")
    asked = (task.name, dict(task.arguments))  # another corruption makes another circuit
    return found if about is None or (about["name"], about["arguments"]) == asked else None
