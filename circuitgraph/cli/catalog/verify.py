"""``circuitgraph catalog verify``: run entries again, and compare with what they say."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from concurrent.futures import Executor
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli import options
from circuitgraph.cli.catalog.catalog_options import CatalogsOption, dump_json, print_problems
from circuitgraph.cli.output import Output
from circuitgraph.cli.worker_options import SchedulerOption, WorkersOption
from circuitgraph.errors import ArgumentError, CircuitGraphError
from circuitgraph.printable import make_printable

if TYPE_CHECKING:
    from circuitgraph.catalog.entries import Entry
    from circuitgraph.jobs.verify import VerifiedEntry


def verify_entries(
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTRY]...", help="Entries to run again.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    search: Annotated[
        bool, typer.Option("--search", help="Run the searches again, not the judgements.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            help="How far a mean may be off, as a share of what lies between the whole model and "
            "nothing; ends of intervals 10 % of the width. With --search: how far an effect may be "
            "off, as a share of the largest. [default: 0.001]",
        ),
    ] = None,
    catalog: CatalogsOption = None,
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Use the hub's cache only, no network.")
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="Let checkpoints' own Python read what is theirs."
        ),
    ] = False,
    memory: options.MemoryOption = None,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Judge circuits again on the recorded prompts, with the recorded settings, and compare every
    mean and interval; hashes of weights, tokenizer and prompts must be those of the record.

    Exits 1 if an entry is damaged or differs; 2 if none could be run. What cannot be run here, for
    example because its model is not installed, is named and counted.

    Examples:

    - `circuitgraph catalog verify ioi/ioi/acdc`

    - `circuitgraph catalog verify --all --local-only`

    - `circuitgraph catalog verify ioi/ioi/acdc --search`

    - `circuitgraph catalog verify --all --local-only --workers 4`
    """
    from circuitgraph.cli.inputs import keep_compiled_programs
    from circuitgraph.jobs.executors import open_executor
    from circuitgraph.jobs.verify import DAMAGED, VerifiedEntry

    output, limit = Output(as_json, quiet), options.convert_to_bytes(memory)
    chosen, problems = _choose_entries(entries or [], everything, catalog)
    _prepare_precision(chosen)
    share = _check_tolerance(tolerance)
    loading = options.LoadingOptions(local_only=local_only, trust_remote_code=trust_remote_code)
    jobs = [_make_job(entry, loading, search, share, limit) for entry in chosen]
    keep_compiled_programs()
    done = [VerifiedEntry(name, DAMAGED, [text], 0.0) for name, text in problems.items()]
    print_problems(output, problems)
    with open_executor(workers, scheduler) as executor:
        done += _run_jobs(output, executor, jobs)
    _report_outcomes(output, done, share)


def _make_job(
    entry: Entry,
    loading: options.LoadingOptions,
    search: bool,
    tolerance: float,
    memory: int | None,
) -> dict[str, Any]:
    from circuitgraph.catalog.sources import is_url
    from circuitgraph.jobs.verify import VerifyJob

    place = entry.source.place
    if not is_url(place):
        place = os.path.abspath(os.path.expanduser(place))
    job = VerifyJob(place, str(entry), loading.keywords, search, tolerance, memory)
    return asdict(job)


def _run_jobs(
    output: Output, executor: Executor, jobs: list[dict[str, Any]]
) -> list[VerifiedEntry]:
    """What became of each entry, in order; each is printed as soon as it is known."""
    from circuitgraph.jobs.executors import WorkerError, run_jobs
    from circuitgraph.jobs.verify import NOT_RUN, VerifiedEntry, verify_entry
    from circuitgraph.progress import show_progress

    done: list[tuple[int, VerifiedEntry]] = []
    with show_progress(len(jobs), "verify", "circuit", bar=output.shows_bars) as progress:
        for job, result in run_jobs(executor, verify_entry, jobs):
            if isinstance(result, WorkerError):
                verified = VerifiedEntry(job["entry"], NOT_RUN, [str(result)], 0.0)
            else:
                verified = VerifiedEntry(**result)
            done.append((jobs.index(job), verified))
            progress.advance(note=verified.entry)
            if not output.as_json and not output.quiet:
                typer.echo("\n".join(_format_lines(verified)))
    return [verified for _, verified in sorted(done, key=lambda each: each[0])]


def _prepare_precision(entries: list[Entry]) -> None:
    """Allow for float64 where a circuit was searched for in it, before jax is imported."""
    for entry in entries:
        with contextlib.suppress(CircuitGraphError):
            if (environment := entry.read_record().environment) is not None:
                options.prepare_precision(environment.precision)


def _check_tolerance(tolerance: float | None) -> float:
    from circuitgraph.jobs.replay import TOLERANCE

    if tolerance is None:
        return TOLERANCE
    if not 0 <= tolerance < 1:
        raise ArgumentError(f"--tolerance is {tolerance}, but must be at least 0 and below 1.")
    return tolerance


def _choose_entries(
    names: list[str], everything: bool, catalog: list[str] | None
) -> tuple[list[Entry], dict[str, str]]:
    """The entries to run, those of one model side by side; and what cannot even be listed."""
    from circuitgraph.catalog.catalogs import find_entry, open_catalogs

    if everything == bool(names):
        raise ArgumentError("Name entries (circuitgraph catalog list), or give --all; not both.")
    catalogs = open_catalogs(catalog or ())
    if names:
        return [find_entry(name, catalogs) for name in names], {}
    entries, problems = [], {}
    for each in catalogs:
        listing = each.list()
        problems |= listing.problems
        entries += [each.get(summary.entry) for summary in listing]
    return entries, problems


def _format_lines(done: VerifiedEntry) -> list[str]:
    from circuitgraph.jobs.verify import NOT_RUN, SAME

    mark = {SAME: "+", NOT_RUN: "?"}.get(done.outcome, "-")
    head = f"{mark} {done.entry}: {done.outcome} ({done.seconds:.1f} s)"
    return [head, *(f"    {make_printable(problem)}" for problem in done.problems)]


def _report_outcomes(output: Output, done: list[VerifiedEntry], tolerance: float) -> None:
    """The closing line, or everything as JSON; and the exit status."""
    from circuitgraph.jobs.verify import DAMAGED, DIFFERENT, NOT_RUN, SAME

    counts = Counter(each.outcome for each in done)
    shown = {word: counts[word] for word in (SAME, DIFFERENT, DAMAGED, NOT_RUN)}
    content = {"tolerance": tolerance, "counts": shown, "entries": [asdict(each) for each in done]}
    words = ", ".join(f"{n} {word}" for word, n in shown.items() if n or word == SAME)
    output.print_result(
        dump_json(content),
        f"{len(done)} circuit{'s' * (len(done) != 1)}, within {tolerance:g}: {words}.",
    )
    if shown[DIFFERENT] or shown[DAMAGED]:
        raise typer.Exit(1)
    if not shown[SAME]:
        raise ArgumentError(
            "Nothing could be run, and so nothing was verified: install the models, or name other "
            "entries."
        )
