"""``circuitgraph hypothesize``: from a circuit to a hypothesis file that is ready to fill in."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import circuitgraph as cg
from circuitgraph.catalog.folders import find_path
from circuitgraph.cli import options
from circuitgraph.cli.circuit_places import find_circuit
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError, GraphError, OutputError
from circuitgraph.foreign import read_json

if TYPE_CHECKING:
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.hypotheses.writing.roles import MeasuredRoles
    from circuitgraph.models.language_model import LanguageModel


@options.expand_options
def hypothesize(
    circuit: Annotated[
        Path,
        typer.Argument(
            help="Folder of a circuit, or an entry of the catalog; or what `circuitgraph scrub "
            "FILE --json` printed, whose hypothesis is written out again."
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
    loading: options.LoadingOptions = options.AS_RECORDED,
    no_roles: Annotated[
        bool,
        typer.Option("--no-roles", help='Load no model, and write "ROLE" where a role belongs.'),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Turn a circuit into a hypothesis file: its nodes as variables, at their roles, with functions
    left to write.

    Roles are measured: each node is resampled at each role of 50 discovery prompts, with its value
    on the pair's own corrupted prompt, and heads' attention is read. A file of pairs and a model's
    folder are named by their whole path, so that the file works from anywhere.

    A hypothesis file is **executed as Python** by every command that uses it: read a file before
    you run one of others.

    Examples:

    - `circuitgraph hypothesize runs/induction -o hypotheses/mine.py`

    - `circuitgraph scrub hypotheses/mine.py --json > mine.json`, and elsewhere
      `circuitgraph hypothesize mine.json -o again.py`
    """
    from circuitgraph.catalog.single_files import check_file, write_file
    from circuitgraph.hypotheses.writing.file import write_source
    from circuitgraph.hypotheses.writing.roles import NoRoles
    from circuitgraph.hypotheses.writing.skeleton import check_whole_heads, write_skeleton

    if out.suffix != ".py":
        raise ArgumentError(
            f"--out is {str(out)!r}: a hypothesis file is Python, with a name that ends in .py."
        )
    if os.path.lexists(out) and (out.is_dir() or not force):
        raise OutputError(
            f"{str(out)!r} exists already. Choose another --out, or add --force to overwrite it."
        )
    check_file(out, is_own=_is_hypothesis)
    output = Output(as_json, quiet)
    record = _read_stored_hypothesis(circuit)
    keywords = loading.keywords
    if record is None:
        circuit = find_circuit(circuit)
        loaded_circuit = cg.load_circuit(circuit)
        check_whole_heads(loaded_circuit)
        keywords = options.gather_loading(
            loading, loaded_circuit.provenance, is_own=model is None, path=circuit
        )
        origin = _describe_origin(loaded_circuit, model, circuit)
        is_file = Path(origin["task"]).is_absolute()
        roles = (
            NoRoles(has_words=not is_file)
            if no_roles
            else _measure_roles(output, loaded_circuit, origin, keywords)
        )
        text = write_skeleton(loaded_circuit, roles, **origin)
    else:
        text = write_source(record if model is None else record.model_copy(update={"model": model}))
    write_file(out, text.encode(), is_own=_is_hypothesis)
    unwritten = _list_unwritten(text)
    output.print_message(
        f"Functions to write: {', '.join(unwritten) or 'none'}. Then: circuitgraph scrub {out}"
        f"{options.format_loading(keywords)}"
    )
    output.print_result(json.dumps({"hypothesis": str(out), "unwritten": unwritten}), str(out))


def _is_hypothesis(content: bytes) -> bool:
    """Whether a file may be a hypothesis, which ``--force`` overwrites."""
    return b"circuitgraph" in content


def _list_unwritten(text: str) -> list[str]:
    """Names of the functions whose body ends in ``...``.

    The text is read, not executed: somebody else may have written it.
    """
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if ast.unparse(f.body[-1]) == "..."]


def _read_stored_hypothesis(path: Path) -> HypothesisRecord | None:
    """The hypothesis that a JSON file holds, on its own or in the record of a scrub; else None."""
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord

    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None  # `load_circuit` says what is wrong with the file
    stored = content.get("stored", content) if isinstance(content, dict) else None
    if not isinstance(stored, dict) or "variables" not in stored:
        return None
    return HypothesisRecord.from_json(json.dumps(stored))


def _describe_origin(circuit: Circuit, model: str | None, path: Path) -> dict[str, Any]:
    """Task, settings, metric and model of the circuit's search; defaults are left out.

    Args:
        path: of the circuit, beside which its data file and model are looked for too.
    """
    from circuitgraph.models.loading import find_model
    from circuitgraph.tasks.base import tasks

    origin = circuit.provenance
    task, own_model = origin.get("task"), (origin.get("model") or {}).get("name")
    if task is None or (own_model is None and model is None):
        raise ArgumentError(
            "This circuit does not say which task and model it is of, as one that `circuitgraph "
            "discover` wrote does."
        )
    metric, arguments = origin.get("metric"), task["arguments"]
    if "data" in arguments:
        file = find_path(str(arguments["data"]), path, Path.is_file)
        name, default_metric = str(file or Path(arguments["data"]).absolute()), None
        settings = {k: v for k, v in arguments.items() if k not in ("data", "sha256")}
    else:
        name, kind = task["name"], tasks[task["name"]]
        default_metric, defaults = kind.metric, kind.fill_arguments({})
        settings = {key: value for key, value in arguments.items() if defaults.get(key) != value}
    return {
        "task": name,
        "model": _name_whole_path(find_model(str(model or own_model), path)),
        "settings": settings,
        "metric": None if metric == default_metric else metric,
    }


def _name_whole_path(model: str) -> str:
    """A model's name; of a folder or state dict the whole path, which works from anywhere."""
    from circuitgraph.models.gguf.loading import is_gguf
    from circuitgraph.models.loading import shipped_models
    from circuitgraph.models.transformer_lens_checkpoint import is_state_dict

    path = Path(model)
    is_file = is_state_dict(path) or (is_gguf(path) and os.path.isfile(path))
    is_path = model not in shipped_models() and (is_file or os.path.isdir(path))
    return str(path.resolve()) if is_path else model


def _measure_roles(
    output: Output, circuit: Circuit, origin: dict[str, Any], loading: dict[str, Any]
) -> MeasuredRoles:
    """Measure at which roles the circuit's nodes matter.

    Args:
        loading: keywords of `circuitgraph.load_model`.
    """
    from circuitgraph.cli.inputs import keep_compiled_programs, open_setup
    from circuitgraph.hypotheses.writing.roles import MeasuredRoles
    from circuitgraph.hypotheses.writing.skeleton import list_writers
    from circuitgraph.jobs.setup import Setup

    keep_compiled_programs()
    setup = Setup(
        model=origin["model"],
        task=origin["task"],
        task_settings=origin["settings"],
        loading=loading,
        metric=origin["metric"],
    )
    bench = open_setup(output, setup)
    _check_graph(circuit, bench.model)
    roles = MeasuredRoles(bench.model, bench.task, bench.metric)
    roles.measure_all_costs(list_writers(circuit), output.shows_bars)
    return roles


def _check_graph(circuit: Circuit, model: LanguageModel) -> None:
    """Refuse a circuit of another shape than the model's."""
    graphs = (circuit.graph, model.graph())
    shapes = [(g.n_layers, g.n_heads, g.mlp, g.parallel) for g in graphs]
    if shapes[0] != shapes[1]:
        ours, theirs = (
            f"{g.n_layers} layers of {g.n_heads} heads {'with' if g.mlp else 'without'} MLPs"
            for g in graphs
        )
        raise GraphError(
            f"The circuit is of a model with {ours}, but {model.name!r} has {theirs}: name its own."
        )
