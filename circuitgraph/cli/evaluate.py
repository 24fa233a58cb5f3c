"""``circuitgraph evaluate``: judge a stored circuit on prompts that its search did not see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuitgraph.cli import options
from circuitgraph.cli.options import memory_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import judgement, keep_compiled_programs, load
from circuitgraph.errors import ArgumentError, ModelError


def evaluate(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    model: options.ModelOption = None,
    task: Annotated[str | None, typer.Option("--task", help="Another task than the circuit's own.")] = None,
    data: options.DataOption = None,
    metric: options.MetricOption = None,
    ablation: options.AblationOption = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Number of prompts. [default: 200]")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the prompts. [default: the run's]")] = None,
    memory: options.MemoryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure a circuit's faithfulness on unseen prompts, beside random circuits of its size.

    Example: `circuitgraph evaluate runs/induction --metric kl`
    """
    from circuitgraph import api
    from circuitgraph.catalog.files import load_circuit, load_record

    output = Output(as_json, quiet)
    record, stored = load_record(circuit), load_circuit(circuit)
    if record.task is None and task is None and data is None:
        raise ArgumentError("This circuit names no task: give one with --task or --data.")
    if task is None and data is None and record.task is not None:
        file = record.task.arguments.get("data")
        task, data = (None, Path(file)) if file else (record.task.name, None)
    if seed is None:
        seed = record.task.seed if record.task else 0
    keep_compiled_programs()
    with output.waiting("loading the model"):
        loaded, chosen = load(model or (record.model.name if record.model else None), task, data, seed)
    if record.model and model is None and loaded.fingerprint != record.model.weights_sha256:
        raise ModelError(
            f"The weights of {record.model.name!r} are not those that the circuit was found in "
            f"(SHA-256 {loaded.fingerprint[:12]}, not {record.model.weights_sha256[:12]}). To judge it all the "
            "same, name the model with --model."
        )
    with output.waiting("judging"):
        found = api.evaluate(
            loaded,
            chosen,
            stored,
            metric=metric,
            ablation=ablation,
            n_prompts=limit,
            memory=memory_bytes(memory),
        )
    output.result(found.model_dump_json(indent=2), judgement(found))
