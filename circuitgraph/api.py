"""The main job in three calls: a task, a search, a judgement. The command line is a thin layer over these."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import circuitgraph
from circuitgraph.catalog.records import (
    Environment,
    EvaluationRecord,
    ModelRecord,
    TaskRecord,
)
from circuitgraph.discovery.base import make_algorithm, search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.errors import ArgumentError, ModelError
from circuitgraph.evaluation.faithfulness import faithfulness
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import GrammarTask, Prompts, Split, Task, tasks
from circuitgraph.tasks.pairs import PairsTask

N_DISCOVERY = 50
N_EVALUATION = 200


def load_task(name: str | Path, model: LanguageModel, *, seed: int = 0, **arguments: Any) -> Task:
    """A task for a model: a registered grammar by name, or a JSONL file of pairs by its path.

    Raises:
        UnknownNameError: no grammar of that name, or it has no such argument.
        ModelError: the model has no tokenizer.
        DataError: the file's pairs cannot be used; all problems are listed by line number.
    """
    if model.tokenizer is None:
        raise ModelError(
            f"The model {model.name!r} has no tokenizer, so prompts cannot be written for it. Add a tokenizer.json "
            "to its folder."
        )
    if isinstance(name, Path) or str(name).endswith(".jsonl"):
        if arguments:
            raise ArgumentError(f"A file of pairs takes no arguments, but {', '.join(arguments)} was given.")
        return PairsTask(name, model.tokenizer, model.spec.n_ctx, seed)
    return GrammarTask(tasks[name], model.tokenizer, seed, arguments)


def draw(task: Task, split: Split, n: int | None, default: int) -> Prompts:
    """``n`` prompts; if None, the default number, or all that a file has of that split."""
    supply = task.supply(split)
    return task.prompts(n if n is not None else min(default, supply or default), split)


def discover(
    model: LanguageModel,
    task: Task,
    *,
    algorithm: str = "acdc",
    metric: str | None = None,
    ablation: str = "resample",
    grouped: bool = False,
    n_prompts: int | None = None,
    memory: int | None = None,
    bar: bool = False,
    **settings: Any,
) -> Circuit:
    """Find the circuit of a task in a model.

    Args:
        algorithm: name of the search; ``settings`` are its own, such as ``threshold=0.05`` for ACDC.
        metric: what the behaviour is measured by; the task's default if None.
        ablation: what an absent edge carries.
        grouped: one k and one v reader for each key-value head, not for each query head.
        n_prompts: number of discovery prompts (50 by default, or fewer if a file has fewer).
        memory: limit in bytes for one launch.
        bar: show progress and time left.

    Returns:
        The circuit, with every edge's measured effect and all that is needed to run it again.

    Raises:
        CircuitGraphError: an unknown name, a value that makes no sense, or prompts that cannot be used.
    """
    chosen = make_algorithm(algorithm, **settings)
    experiment, prompts = prepare(
        model,
        task,
        direct=chosen.direct,
        grouped=grouped,
        metric=metric,
        ablation=ablation,
        n_prompts=n_prompts,
        memory=memory,
    )
    circuit = search(chosen, experiment, bar=bar)
    return replace(circuit, provenance={**circuit.provenance, **_origin(model, task, prompts)})


def prepare(
    model: LanguageModel,
    task: Task,
    *,
    direct: bool = False,
    grouped: bool = False,
    metric: str | None = None,
    ablation: str = "resample",
    n_prompts: int | None = None,
    memory: int | None = None,
) -> tuple[Experiment, Prompts]:
    """The experiment that `discover` searches in, and its prompts; arguments as there."""
    prompts = draw(task, "discovery", n_prompts, N_DISCOVERY)
    graph = model.graph(direct=direct, grouped=grouped)
    experiment = Experiment(model, prompts, metric=metric or task.metric, ablation=ablation, graph=graph, memory=memory)
    return experiment, prompts


def evaluate(
    model: LanguageModel,
    task: Task,
    circuit: Circuit,
    *,
    metric: str | None = None,
    ablation: str | None = None,
    n_prompts: int | None = None,
    memory: int | None = None,
) -> EvaluationRecord:
    """Judge a circuit on prompts that no search saw: faithfulness, beside random circuits of equal size.

    Args:
        metric, ablation: those of the search if None (the task's metric and ``resample`` for other circuits).
        n_prompts: number of evaluation prompts (200 by default, or fewer if a file has fewer).

    Raises:
        GraphError: the circuit is of another model's graph.
    """
    prompts = draw(task, "evaluation", n_prompts, N_EVALUATION)
    experiment = Experiment(
        model,
        prompts,
        metric=metric or circuit.provenance.get("metric") or task.metric,
        ablation=ablation or circuit.provenance.get("ablation") or "resample",
        graph=model.graph(direct=circuit.graph.direct, grouped=circuit.graph.n_kv_heads is not None),
        memory=memory,
    )
    return faithfulness(experiment, circuit, prompts, split="evaluation", seed=task.seed)


def model_record(model: LanguageModel) -> ModelRecord:
    """What is written down of a model."""
    return ModelRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        weights_sha256=model.fingerprint,
        tokenizer_sha256=model.tokenizer.fingerprint if model.tokenizer else None,
        n_parameters=model.n_parameters,
    )


def _origin(model: LanguageModel, task: Task, prompts: Prompts) -> dict[str, Any]:
    """Model, prompts and environment of a search, as plain JSON values."""
    records = {
        "model": model_record(model),
        "task": TaskRecord(
            name=task.name,
            arguments=dict(task.arguments),
            seed=task.seed,
            split="discovery",
            n_prompts=len(prompts),
            prompts_sha256=prompts.fingerprint,
        ),
        "environment": environment(model.dtype),
    }
    return {name: record.model_dump(mode="json") for name, record in records.items()}


def environment(precision: str) -> Environment:
    """Versions and backend of this process, and the precision that a model ran in."""
    packages = ("jax", "jaxlib", "equinox", "numpy", "torch", "transformers")
    versions = {name: metadata.version(name) for name in packages}
    versions |= {"circuitgraph": circuitgraph.__version__, "python": platform.python_version()}
    return Environment(precision=precision, backend=jax.default_backend(), versions=versions)
