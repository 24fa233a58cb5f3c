"""``circuitgraph discover``: from a model and a behaviour to a drawn, judged, stored circuit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts, memory_bytes, prompts_typed
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import check_names, choose_model, judgement, keep_compiled_programs, load
from circuitgraph.errors import ArgumentError, OutputError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import EvaluationRecord
    from circuitgraph.discovery.base import Algorithm
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task

_ROWS = 25


def discover(
    task: Annotated[
        str | None, typer.Argument(callback=prompts_typed, help="A task; see `circuitgraph list tasks`.")
    ] = None,
    task_option: Annotated[
        str | None, typer.Option("--task", callback=prompts_typed, help="The same, as an option.")
    ] = None,
    model: options.ModelOption = None,
    data: options.DataOption = None,
    metric: options.MetricOption = None,
    algorithm: Annotated[str, typer.Option("--algorithm", help="See `circuitgraph list algorithms`.")] = "acdc",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="ACDC removes an edge that costs less than this, in the metric's unit."),
    ] = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="ACDC compares the size of an edge's effect, not its sign.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="The ACDC reference's graph, with direct q/k/v edges.")
    ] = False,
    heads: Annotated[
        str | None,
        typer.Option("--heads", help="ACDC's order of a layer's heads: ascending or descending. [default: descending]"),
    ] = None,
    grouped: options.GroupedOption = False,
    ablation: options.AblationOption = "resample",
    limit: Annotated[int | None, typer.Option("--limit", help="Number of discovery prompts. [default: 50]")] = None,
    seed: options.SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New folder for the results. [default: runs/TASK]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the circuit in that folder.")] = False,
    memory: options.MemoryOption = None,
    config: options.ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print size, memory, number of evaluations and time.")
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Find, judge, draw and store the circuit of a task.

    Writes circuit.json, scores.safetensors, circuit.dot and (where Graphviz is installed) circuit.svg.

    Examples:

    - `circuitgraph discover induction`

    - `circuitgraph discover induction --threshold 0.5 --metric kl --out runs/strict`

    - `circuitgraph discover --model ./my-model --data pairs.jsonl --metric logit_difference`
    """
    from circuitgraph import api
    from circuitgraph.catalog.files import new_folder
    from circuitgraph.discovery.base import make_algorithm

    del config
    output, name = Output(as_json, quiet), _one_task(task, task_option)
    # What can be refused is refused now: before the model is loaded, and before a folder is made.
    settings, room = _settings(threshold, absolute, direct, heads), memory_bytes(memory)
    make_algorithm(algorithm, **settings)
    check_names(metric, ablation)
    check_counts(limit, 1, seed)
    model = choose_model(model, name, data)
    target = _target(out, name, data, overwrite)
    keep_compiled_programs()
    question: dict[str, Any] = {"metric": metric, "ablation": ablation or "resample", "grouped": grouped}
    question |= {"n_prompts": limit, "memory": room}
    if dry_run:
        loaded, chosen = _load(output, model, name, data, seed)
        _forecast(output, loaded, chosen, make_algorithm(algorithm, **settings), question)
        return
    with new_folder(target, overwrite=overwrite) as inside:
        loaded, chosen = _load(output, model, name, data, seed)
        circuit = api.discover(loaded, chosen, algorithm=algorithm, bar=output.shows_bars, **question, **settings)
        with output.waiting("judging it on unseen prompts"):
            evaluation = api.evaluate(loaded, chosen, circuit, memory=room)
        picture = _write(inside, circuit, evaluation)
    _report(output, circuit, evaluation, target, picture)


def _load(output: Output, model: str, task: str | None, data: Path | None, seed: int) -> tuple[LanguageModel, Task]:
    with output.waiting("loading the model"):
        return load(model, task, data, seed)


def _one_task(argument: str | None, option: str | None) -> str | None:
    if argument is not None and option is not None and argument != option:
        raise ArgumentError(f"Two tasks were given, {argument!r} and --task {option!r}: give one.")
    return argument or option


def _settings(threshold: float | None, absolute: bool, direct: bool, heads: str | None) -> dict[str, Any]:
    """The algorithm's settings that were given; what was not given is left to its own defaults."""
    given = {"threshold": threshold, "absolute": absolute or None, "direct": direct or None, "heads": heads}
    return {name: value for name, value in given.items() if value is not None}


def _target(out: Path | None, task: str | None, data: Path | None, overwrite: bool) -> Path:
    """The folder to write: as asked for, or the first free one named after the task."""
    if out is not None:
        if os.path.exists(out) and not overwrite:
            raise OutputError(f"{str(out)!r} exists already. Choose another --out, or add --overwrite.")
        return out
    name = task or (data.stem if data else "circuit")
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    folder, number = Path("runs") / name, 2
    while folder.exists() and not overwrite:
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def _forecast(
    output: Output, model: LanguageModel, task: Task, algorithm: Algorithm[Any], question: dict[str, Any]
) -> None:
    """What a search would take: sizes from the shapes, time from one evaluation of the whole model."""
    from circuitgraph.api import prepare

    experiment, prompts = prepare(model, task, direct=algorithm.direct, **question)
    seconds = experiment.seconds_per_evaluation()
    graph, most = experiment.graph, algorithm.evaluations(experiment.graph)
    facts = {
        "model": model.name,
        "parameters": model.n_parameters,
        "writers": len(graph.writers),
        "readers": len(graph.readers),
        "edges": graph.n_edges,
        "prompts": len(prompts),
        "longest_prompt_tokens": prompts.mask.shape[1],
        "prompts_per_launch": experiment.plan.prompts,
        "memory_mib": round((experiment.plan.bytes_needed + 4 * model.n_parameters) / 2**20, 1),
        "edges_to_decide": most,
        "seconds_per_evaluation": round(seconds, 4),
        "minutes_about": round(most * seconds / 60, 1),
    }
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    output.result(json.dumps(facts, indent=2), table)


def _write(inside: Path, circuit: Circuit, evaluation: EvaluationRecord) -> str | None:
    """All files of a run; returns what to say if there is no picture."""
    from circuitgraph.catalog.files import write_circuit
    from circuitgraph.drawing.dot import INSTALL_HINT, LayoutError, render

    write_circuit(circuit, inside, evaluation)
    render(circuit, inside / "circuit.dot")
    try:
        picture = render(circuit, inside / "circuit.svg")
    except LayoutError as error:
        return f"There is no picture, but all else. {error}"
    return None if picture.suffix == ".svg" else INSTALL_HINT


def _report(output: Output, circuit: Circuit, evaluation: EvaluationRecord, target: Path, picture: str | None) -> None:
    from circuitgraph.catalog.files import record_of

    record = record_of(circuit, evaluation)
    close = record.algorithm.close_calls if record.algorithm else []
    output.result(
        record.to_json(), _headline(circuit), _edges(circuit), "", judgement(evaluation), "", f"Written to {target}/"
    )
    if close:
        shown = ", ".join(close[:5]) + (" ..." if len(close) > 5 else "")
        output.say(f"Decisions nearer to the threshold than rounding: {len(close)} ({shown})")
    if picture:
        output.say(picture.replace("{where}", str(target)))


def _headline(circuit: Circuit) -> Text:
    """Size of a circuit, and how much of it hangs together."""
    line = f"{len(circuit)} of {circuit.graph.n_edges} edges, {len(circuit.nodes)} nodes"
    on_path = len(circuit.pruned())
    return Text(line if on_path == len(circuit) else f"{line}; {on_path} edges on a path from embed to logits", "bold")


def _edges(circuit: Circuit) -> Table:
    """The strongest edges of a circuit as a table."""
    scores = circuit.scores if circuit.scores is not None else circuit.mask.astype(float)
    strongest = sorted(circuit.mask.nonzero()[0], key=lambda i: -abs(scores[i]))
    table = Table(box=None, pad_edge=False)
    table.add_column("edge")
    table.add_column("effect", justify="right")
    for i in strongest[:_ROWS]:
        table.add_row(circuit.graph.edges[i], f"{scores[i]:.4f}")
    if len(strongest) > _ROWS:
        table.add_row(f"... and {len(strongest) - _ROWS} weaker ones", "")
    return table
