"""Compile a transformer into a graph, discover circuits in the graph, test what they compute.

The names below are the public surface. They are loaded at their first use, so that ``import
circuitgraph`` and ``circuitgraph --help`` load neither jax nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from circuitgraph.analysis.attention_scores import explain_scores as explain_scores
    from circuitgraph.analysis.interventions import Intervention as Intervention
    from circuitgraph.analysis.unit_report import report_units as report_units
    from circuitgraph.catalog.files import load_circuit as load_circuit
    from circuitgraph.catalog.files import save_circuit as save_circuit
    from circuitgraph.catalog.store import Catalog as Catalog
    from circuitgraph.discovery.base import Algorithm as Algorithm
    from circuitgraph.discovery.base import algorithm as algorithm
    from circuitgraph.drawing.dot import render as render
    from circuitgraph.engine.ablation import ablation as ablation
    from circuitgraph.engine.experiment import Experiment as Experiment
    from circuitgraph.errors import CircuitGraphError as CircuitGraphError
    from circuitgraph.evaluation.parity import verify as verify
    from circuitgraph.graph.circuit import Circuit as Circuit
    from circuitgraph.graph.graph import Graph as Graph
    from circuitgraph.hypotheses.language import Hypothesis as Hypothesis
    from circuitgraph.hypotheses.loading import load_hypotheses as load_hypotheses
    from circuitgraph.hypotheses.study import Study as Study
    from circuitgraph.jobs.analyze import analyze as analyze
    from circuitgraph.jobs.certainty import measure_certainty as measure_certainty
    from circuitgraph.jobs.compare import compare_circuits as compare_circuits
    from circuitgraph.jobs.discover import discover as discover
    from circuitgraph.jobs.edit import edit_weights as edit_weights
    from circuitgraph.jobs.evaluate import evaluate as evaluate
    from circuitgraph.jobs.export import export_circuit as export_circuit
    from circuitgraph.jobs.fine_tune import fine_tune as fine_tune
    from circuitgraph.jobs.import_circuit import import_circuit as import_circuit
    from circuitgraph.jobs.judge import judge as judge
    from circuitgraph.jobs.scrub import scrub as scrub
    from circuitgraph.jobs.steer import steer as steer
    from circuitgraph.jobs.sweep import sweep as sweep
    from circuitgraph.jobs.sweep_grid import sweep_grid as sweep_grid
    from circuitgraph.models.attaching import attach_dictionaries as attach_dictionaries
    from circuitgraph.models.dictionaries.loading import load_dictionary as load_dictionary
    from circuitgraph.models.dictionaries.saving import save_dictionary as save_dictionary
    from circuitgraph.models.families import family as family
    from circuitgraph.models.loading import load_model as load_model
    from circuitgraph.models.saving import save_model as save_model
    from circuitgraph.tasks.base import task as task
    from circuitgraph.tasks.loading import load_task as load_task
    from circuitgraph.tasks.metrics import metric as metric

_HOMES = {
    "discover": "jobs.discover",
    "evaluate": "jobs.evaluate",
    "judge": "jobs.judge",
    "analyze": "jobs.analyze",
    "measure_certainty": "jobs.certainty",
    "compare_circuits": "jobs.compare",
    "load_task": "tasks.loading",
    "sweep": "jobs.sweep",
    "sweep_grid": "jobs.sweep_grid",
    "explain_scores": "analysis.attention_scores",
    "steer": "jobs.steer",
    "edit_weights": "jobs.edit",
    "fine_tune": "jobs.fine_tune",
    "save_model": "models.saving",
    "report_units": "analysis.unit_report",
    "Intervention": "analysis.interventions",
    "load_model": "models.loading",
    "attach_dictionaries": "models.attaching",
    "load_dictionary": "models.dictionaries.loading",
    "save_dictionary": "models.dictionaries.saving",
    "verify": "evaluation.parity",
    "render": "drawing.dot",
    "load_circuit": "catalog.files",
    "save_circuit": "catalog.files",
    "Catalog": "catalog.store",
    "export_circuit": "jobs.export",
    "import_circuit": "jobs.import_circuit",
    "Hypothesis": "hypotheses.language",
    "load_hypotheses": "hypotheses.loading",
    "scrub": "jobs.scrub",
    "Study": "hypotheses.study",
    "Graph": "graph.graph",
    "Circuit": "graph.circuit",
    "Experiment": "engine.experiment",
    "Algorithm": "discovery.base",
    "CircuitGraphError": "errors",
    "algorithm": "discovery.base",
    "ablation": "engine.ablation",
    "metric": "tasks.metrics",
    "task": "tasks.base",
    "family": "models.families",
}

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import the module that holds ``name`` now, at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'circuitgraph' has no attribute {name!r}")
    return getattr(importlib.import_module(f"circuitgraph.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])
