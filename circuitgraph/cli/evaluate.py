"""``circuitgraph evaluate``: judge a stored circuit on prompts that its search did not see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts, memory_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import check_names, choose_model, judgement, keep_compiled_programs, load
from circuitgraph.errors import ArgumentError, ModelError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.models.language_model import LanguageModel


def evaluate(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    model: options.ModelOption = None,
    task: Annotated[str | None, typer.Option("--task", help="Another task than the circuit's own.")] = None,
    data: options.DataOption = None,
    metric: options.MetricOption = None,
    ablation: options.AblationOption = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Number of prompts. [default: 200]")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the prompts. [default: the run's]")] = None,
    memory: options.MemoryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure a circuit's faithfulness on unseen prompts, beside random circuits of its size.

    Example: `circuitgraph evaluate runs/induction --metric kl`
    """
    from circuitgraph import api
    from circuitgraph.catalog.files import load_circuit, load_record

    output, room = Output(as_json, quiet), memory_bytes(memory)
    check_names(metric, ablation)
    check_counts(limit, 2, seed)
    record, stored = load_record(circuit), load_circuit(circuit)
    own_task, arguments = task is None and data is None, {}
    if own_task and record.task is None:
        raise ArgumentError("This circuit names no task: give one with --task or --data.")
    if own_task and record.task is not None:
        file, arguments = record.task.arguments.get("data"), record.task.arguments
        task, data, arguments = (None, Path(file), {}) if file else (record.task.name, None, arguments)
    if seed is None:
        seed = record.task.seed if record.task else 0
    name = choose_model(model or (record.model.name if record.model else None), task, data)
    keep_compiled_programs()
    loaded, chosen = load(output, name, task, data, seed, arguments)
    if model is None:
        _check_model(record, loaded)
    with output.waiting("judging"):
        found = api.evaluate(
            loaded,
            chosen,
            stored,
            metric=metric,
            ablation=ablation,
            n_prompts=limit,
            memory=room,
        )
    output.result(found.model_dump_json(indent=2), judgement(found))


def _check_model(record: CircuitRecord, model: LanguageModel) -> None:
    """Refuse to judge a circuit, without being asked to, in another model than it was found in."""
    then, now = record.model, model.tokenizer.fingerprint if model.tokenizer else None
    if then is None:
        return
    found = {"weights": (model.fingerprint, then.weights_sha256), "tokenizer": (now, then.tokenizer_sha256)}
    for part, (is_now, was) in found.items():
        if is_now != was:
            raise ModelError(
                f"The {part} of {then.name!r} changed since the circuit was found in it (SHA-256 {str(is_now)[:12]}, "
                f"not {str(was)[:12]}). To judge it all the same, name the model with --model."
            )
