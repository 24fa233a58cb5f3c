"""``circuitgraph stability``: how sure each edge of a stored circuit is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import circuitgraph as cg
from circuitgraph.catalog.folders import CERTAINTY_FILE, CERTAINTY_JOURNAL_FILE
from circuitgraph.cli import options
from circuitgraph.cli.inputs import check_same_model, keep_compiled_programs, open_setup
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.settings import read_thresholds
from circuitgraph.cli.tables import format_interval, make_table
from circuitgraph.errors import ArgumentError, DataError, OutputError, SearchError

if TYPE_CHECKING:
    from circuitgraph.catalog.certainty_record import CertaintyRecord
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task

_N_ROWS = 15


@options.expand_options
def measure_stability(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    loading: options.LoadingOptions = options.AS_RECORDED,
    samples: Annotated[
        int, typer.Option("--samples", help="Bootstrap samples of the search's prompts.")
    ] = 10,
    factors: Annotated[
        str, typer.Option("--factors", help="Multiples of the threshold, between commas.")
    ] = "0.5,1,2",
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="Between commas. [default: the circuit's own, and kl]"),
    ] = None,
    core: Annotated[
        float, typer.Option("--core", help="From this frequency on an edge is core.")
    ] = 0.9,
    noise: Annotated[
        float, typer.Option("--noise", help="Up to this frequency an edge is noise.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the samples.")] = 0,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin again, and replace what was measured before.")
    ] = False,
    memory: options.MemoryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Search again at other thresholds, on bootstrap samples of the prompts and by other metrics:
    how often is each edge kept?

    Edges are core, contingent or noise. Writes certainty.json beside circuit.json; `render
    --certainty` draws it. A command that was stopped goes on where it was when it is given again.

    Examples:

    - `circuitgraph stability runs/induction`

    - `circuitgraph stability runs/ioi --samples 20 --factors 0.5,0.7,1,1.4,2 --metrics kl`
    """
    from circuitgraph.catalog.certainty_record import save_certainty

    output = Output(as_json, quiet)
    memory_limit, multiples = convert_to_bytes(memory), read_thresholds(factors, "--factors")
    check_counts(samples, 2, seed)
    stored = cg.load_circuit(circuit)
    folder = circuit if circuit.is_dir() else circuit.parent
    journal = folder / CERTAINTY_JOURNAL_FILE
    _check_place(output, folder, journal, anew)
    model, task = _load_origin(output, circuit, loading)
    try:
        record = cg.measure_certainty(
            model,
            task,
            stored,
            n_samples=samples,
            factors=multiples or (),
            metrics=[name.strip() for name in metrics.split(",")] if metrics else (),
            core=core,
            noise=noise,
            seed=seed,
            memory=memory_limit,
            journal=journal,
            anew=anew,
            bar=output.shows_bars,
        )
    except BaseException as error:
        if os.path.exists(journal) and not isinstance(error, SearchError | DataError):
            error.add_note(
                f"The searches that ended are kept in {str(journal)!r}. To go on, give the same "
                f"command again{', without --anew' * anew}."
            )
        raise
    save_certainty(record, folder)
    journal.unlink(missing_ok=True)
    output.print_result(record.to_json(), *_make_tables(record))
    output.print_message(f"Written to {str(folder / CERTAINTY_FILE)!r}.")


def _check_place(output: Output, folder: Path, journal: Path, anew: bool) -> None:
    """Refuse to measure again what is there; say so where a measurement is gone on with."""
    from circuitgraph.catalog.certainty_record import load_certainty

    if anew:
        if os.path.lexists(folder / CERTAINTY_FILE):
            load_certainty(folder)  # something else of that name is left alone
        return
    if os.path.lexists(journal):
        output.print_message(f"Going on with {str(journal)!r}.")
    elif os.path.lexists(folder / CERTAINTY_FILE):
        raise OutputError(
            f"{str(folder / CERTAINTY_FILE)!r} is there already. Add --anew to measure it again."
        )


def _load_origin(
    output: Output, circuit: Path, loading: options.LoadingOptions
) -> tuple[LanguageModel, Task]:
    """The model and the task that a stored circuit is of."""
    from circuitgraph.catalog.files import load_record
    from circuitgraph.jobs.setup import Setup

    record = load_record(circuit)
    if record.model is None:
        raise ArgumentError("This circuit names no model, in which to search again: discover one.")
    setup = Setup.from_record(record, circuit, loading=loading.keywords)
    keep_compiled_programs()
    bench = open_setup(output, setup)
    check_same_model(record.model, bench.model, "Discover its circuit anew.")
    return bench.model, bench.task


def _make_tables(record: CertaintyRecord) -> list[Table]:
    """How many edges of each kind, how alike the circuits are, which edges are in doubt."""
    inside, outside = (record.count_kinds(in_circuit=each) for each in (True, False))
    cuts = f"core: kept by {record.core:.0%} or more; noise: by {record.noise:.0%} or less"
    n = len(record.searches)
    kinds = make_table(f"Edges in {n} searches ({cuts})", "", "core", "contingent", "noise")
    kinds.add_row("of the circuit", *map(str, inside.values()))
    kinds.add_row("of other searches only", *map(str, outside.values()))
    alike = make_table("Overlap (Jaccard) of circuits", "", "mean", "95 % of pairs")
    for name, overlap in (
        (f"{record.n_samples} samples of {record.n_prompts} prompts", record.overlap_samples),
        (f"thresholds times {_join(record.factors)}", record.overlap_factors),
        (" and ".join(record.metrics), record.overlap_metrics),
    ):
        if overlap is not None:
            alike.add_row(name, *format_interval(overlap))
    doubtful = [
        edge
        for edge in record.edges
        if edge.kind == "contingent" or edge.in_circuit != (edge.kind == "core")
    ]
    doubtful.sort(key=lambda edge: (not edge.in_circuit, edge.frequency.mean))
    shown = doubtful[:_N_ROWS]
    title = f"Edges in doubt, {len(shown)} of {len(doubtful)}"
    edges = make_table(title, "edge", "kind", "in circuit", "kept", "95 % interval", n_left=3)
    for edge in shown:
        words = (edge.edge, edge.kind, "yes" if edge.in_circuit else "no")
        edges.add_row(*words, *format_interval(edge.frequency))
    return [kinds, alike, *([edges] if shown else [])]


def _join(numbers: list[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
