"""``circuitgraph catalog import``: a circuit that another tool found, as one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.output import Output
from circuitgraph.cli.run_folder import RUNS
from circuitgraph.errors import CircuitGraphError

if TYPE_CHECKING:
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.models.tokenizer import Bos


@options.expand_options
def import_file(
    file: Annotated[Path, typer.Argument(help="The file of another tool.")],
    model: Annotated[str, typer.Option("--model", help="Folder, shipped model or hub name.")],
    task: Annotated[
        str | None, typer.Option("--task", help="What it is the circuit of; or --data.")
    ] = None,
    data: options.DataOption = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="mib-json, mib-pt, edge-list, auto-circuit or acdc. [default: by the file's "
            "ending, where that says it]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="New folder for the circuit. [default: runs/FILE]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the circuit that is there.")
    ] = False,
    grouped: options.GroupedOption = False,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task_set: options.TaskSetOption = None,
    bos: options.BosOption = None,
    seed: options.SeedOption = 0,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Read a circuit that another tool wrote into a folder, to be judged, drawn and tested here.

    What the file holds is read, never run. The files of MIB are of prompts with BOS in front
    (prepend_bos), which their task gets here too unless --bos says otherwise.

    Examples:

    - `circuitgraph catalog import ioi.json --format mib-json --model gpt2 --task ioi`

    - `circuitgraph catalog import edges.csv --model induction-2l --task induction -o runs/theirs`
    """
    from circuitgraph.catalog.files import make_circuit_record
    from circuitgraph.catalog.folders import check_new_folder
    from circuitgraph.catalog.formats.base import choose_format, decoders
    from circuitgraph.cli.inputs import choose_setup, gather_task_settings, load_alone
    from circuitgraph.cli.options import check_counts

    output, folder = Output(as_json, quiet), out or RUNS / file.stem
    chosen = choose_format(decoders, format, file)
    check_counts(None, 1, seed)
    settings = gather_task_settings(task_set or [], bos, None)
    setup = choose_setup(model, task, data, seed=seed, task_settings=settings)
    check_new_folder(folder, overwrite=overwrite)
    loaded_model = load_alone(output, setup.model, loading.keywords)
    if "bos" not in settings and chosen.bos is not None:
        settings |= _follow_bos(output, loaded_model, chosen.bos)
    loaded_task = cg.load_task(setup.task, loaded_model, seed=seed, **settings)
    for note in loaded_task.notes:
        output.print_message(f"Note: {note}")
    circuit = cg.import_circuit(
        file, chosen.name, model=loaded_model, task=loaded_task, grouped=grouped
    )
    cg.save_circuit(circuit, folder, overwrite=overwrite)
    for note in circuit.provenance["imported"]["notes"]:
        output.print_message(f"Note: {note}")
    output.print_result(make_circuit_record(circuit).to_json(), _describe_circuit(circuit, folder))


def _follow_bos(output: Output, model: LanguageModel, bos: Bos) -> dict[str, Bos]:
    """The setting by which the task's prompts begin as those of the file's format do."""
    try:
        model.text_tokenizer.with_bos(bos)
    except CircuitGraphError:
        output.print_message(
            "Note: The format's prompts begin with BOS, which this tokenizer does not have."
        )
        return {}
    return {"bos": bos}


def _describe_circuit(circuit: Circuit, folder: Path) -> str:
    return (
        f"{len(circuit):,} of {circuit.graph.n_edges:,} edges, {len(circuit.nodes)} nodes: {folder}"
    )
