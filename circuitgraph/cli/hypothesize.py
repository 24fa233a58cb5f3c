"""``circuitgraph hypothesize``: from a circuit to a hypothesis file that is ready to fill in."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError, GraphError, OutputError

if TYPE_CHECKING:
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel


def hypothesize(
    circuit: Annotated[
        Path,
        typer.Argument(
            help="Folder of a circuit, or its circuit.json; or what `circuitgraph scrub FILE "
            "--json` printed, whose hypothesis is written out again."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The hypothesis file to write: a name that ends in .py."),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder, shipped model or hub name. [default: the circuit's]"),
    ] = None,
    no_roles: Annotated[
        bool,
        typer.Option("--no-roles", help='Load no model, and write "ROLE" where a role belongs.'),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn a circuit into a hypothesis file: its nodes as variables, at their roles, with functions
    left to write.

    Roles are measured: each node is resampled at each role of 50 discovery prompts, and heads'
        attention is read.

    A hypothesis file is **executed as Python** by every command that uses it: read a file before
    you run one of others.

    Examples:

    - `circuitgraph hypothesize runs/induction -o hypotheses/mine.py`

    - `circuitgraph scrub hypotheses/mine.py --json > mine.json`, and elsewhere
      `circuitgraph hypothesize mine.json -o again.py`
    """
    from circuitgraph.catalog.files import load_circuit
    from circuitgraph.catalog.folders import write_file
    from circuitgraph.hypotheses.writing.file import write_source
    from circuitgraph.hypotheses.writing.roles import NoRoles
    from circuitgraph.hypotheses.writing.skeleton import write_skeleton

    if out.suffix != ".py":
        raise ArgumentError(
            f"--out is {str(out)!r}: a hypothesis file is Python, with a name that ends in .py."
        )
    if out.exists() and (out.is_dir() or not force):
        raise OutputError(
            f"{str(out)!r} exists already. Choose another --out, or add --force to overwrite it."
        )
    output = Output(as_json, quiet)
    record = _stored(circuit)
    if record is None:
        loaded = load_circuit(circuit)
        about = _about(loaded, model)
        roles = NoRoles() if no_roles else _measured(output, loaded, about)
        text = write_skeleton(loaded, roles, **about)
    else:
        text = write_source(record if model is None else record.model_copy(update={"model": model}))
    write_file(out, text.encode())
    left = _unwritten(text)
    output.say(f"Functions to write: {', '.join(left) or 'none'}. Then: circuitgraph scrub {out}")
    output.result(json.dumps({"hypothesis": str(out), "unwritten": left}), str(out))


def _unwritten(text: str) -> list[str]:
    """Names of the functions that end in ``...``. The text is read, not executed: it may be
    somebody else's.
    """
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if ast.unparse(f.body[-1]) == "..."]


def _stored(path: Path) -> HypothesisRecord | None:
    """The stored hypothesis of a JSON file, on its own or in the record of a scrub; None if it is
    something else.
    """
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord

    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # the circuit's reader says what is wrong
    found = content.get("stored", content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or "variables" not in found:
        return None
    return HypothesisRecord.from_json(json.dumps(found))


def _about(circuit: Circuit, model: str | None) -> dict[str, Any]:
    """Task, settings, metric and model, as the circuit's record says; defaults are left out."""
    from circuitgraph.tasks.base import tasks

    origin = circuit.provenance
    task, own = origin.get("task"), (origin.get("model") or {}).get("name")
    if task is None or (own is None and model is None):
        raise ArgumentError(
            "This circuit does not say which task and model it is of, as one that `circuitgraph "
            "discover` wrote does."
        )
    if "data" in task["arguments"]:
        name, settings, usual = str(task["arguments"]["data"]), {}, None
    else:
        kind = tasks[task["name"]]
        name, usual, defaults = task["name"], kind.metric, kind.fill_arguments({})
        settings = {
            key: value for key, value in task["arguments"].items() if defaults.get(key) != value
        }
    metric = origin.get("metric")
    return {
        "task": name,
        "model": model or own,
        "settings": settings,
        "metric": None if metric == usual else metric,
    }


def _measured(output: Output, circuit: Circuit, about: dict[str, Any]) -> Any:
    """The roles at which the circuit's nodes matter."""
    from circuitgraph.cli.shared import keep_compiled_programs, load
    from circuitgraph.hypotheses.writing.roles import MeasuredRoles
    from circuitgraph.hypotheses.writing.skeleton import list_writers

    keep_compiled_programs()
    data = Path(about["task"]) if about["task"].endswith(".jsonl") else None
    name = None if data else about["task"]
    loaded, task = load(output, about["model"], name, data, 0, about["settings"])
    _check_graph(circuit, loaded)
    found = MeasuredRoles(loaded, task, about["metric"] or task.metric)
    found.measure_all_costs(list_writers(circuit), output.shows_bars)
    return found


def _check_graph(circuit: Circuit, model: LanguageModel) -> None:
    """Refuse a circuit of another shape than the model's."""
    ours, theirs = circuit.graph, model.graph()
    sizes = [(g.n_layers, g.n_heads, g.mlp, g.parallel) for g in (ours, theirs)]
    if sizes[0] != sizes[1]:
        shown = [
            f"{n} layers of {h} heads {'with' if m else 'without'} MLPs" for n, h, m, _ in sizes
        ]
        raise GraphError(
            f"The circuit is of a model with {shown[0]}, but {model.name!r} has {shown[1]}: name "
            "its own."
        )
