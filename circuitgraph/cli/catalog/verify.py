"""``circuitgraph catalog verify``: run entries again, and compare with what they say."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli import options
from circuitgraph.cli.catalog.catalog_options import CatalogsOption, dump_json, print_problems
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError, CircuitGraphError, DataError, ModelError, first_line
from circuitgraph.printable import make_printable

if TYPE_CHECKING:
    from circuitgraph.catalog.entries import Entry
    from circuitgraph.catalog.records import CircuitRecord, EvaluationRecord
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel

SAME, DIFFERENT, DAMAGED, NOT_RUN = "same", "different", "damaged", "not run"


@dataclass(frozen=True)
class VerifiedEntry:
    """What became of one entry; ``problems`` say what differs, or why it was not run."""

    entry: str
    outcome: str
    problems: list[str]
    seconds: float


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
    """
    from circuitgraph.progress import show_progress

    output, limit = Output(as_json, quiet), options.convert_to_bytes(memory)
    chosen, problems = _choose_entries(entries or [], everything, catalog)
    _prepare_precision(chosen)
    share = _check_tolerance(tolerance)
    loading = options.LoadingOptions(local_only=local_only, trust_remote_code=trust_remote_code)
    verifier = _Verifier(loading, search, share, limit)
    done = [VerifiedEntry(name, DAMAGED, [text], 0.0) for name, text in problems.items()]
    print_problems(output, problems)
    with show_progress(len(chosen), "verify", "circuit", bar=output.shows_bars) as progress:
        for entry in chosen:
            progress.rename(str(entry))
            done.append(verifier.verify_entry(entry))
            progress.advance()
            if not as_json and not quiet:
                typer.echo("\n".join(_format_lines(done[-1])))
    _report_outcomes(output, done, share)


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


class _Verifier:
    """Runs entries; a model is loaded once for all neighbours that need it."""

    def __init__(
        self, loading: options.LoadingOptions, search: bool, tolerance: float, memory: int | None
    ) -> None:
        from circuitgraph.cli.inputs import keep_compiled_programs

        keep_compiled_programs()
        self._loading, self._search = loading, search
        self._tolerance, self._memory = tolerance, memory
        self._key: str | None = None
        self._model: LanguageModel | None = None

    def verify_entry(self, entry: Entry) -> VerifiedEntry:
        """What became of one entry; no error of it stops the others."""
        start = time.perf_counter()
        try:
            record, circuit, judgement = (
                entry.read_record(),
                entry.read_circuit(),
                entry.read_judgement(),
            )
        except CircuitGraphError as error:
            return VerifiedEntry(str(entry), DAMAGED, [first_line(error)], 0.0)
        stored = [each for each in (record.evaluation, judgement) if each is not None]
        try:
            with entry.open_folder() as folder:
                problems = self._replay(record, circuit, stored, folder)
        except CircuitGraphError as error:
            return VerifiedEntry(
                str(entry), NOT_RUN, [first_line(error)], time.perf_counter() - start
            )
        outcome = DIFFERENT if problems else SAME
        return VerifiedEntry(str(entry), outcome, problems, time.perf_counter() - start)

    def _replay(
        self,
        record: CircuitRecord,
        circuit: Circuit,
        stored: list[EvaluationRecord],
        folder: Path,
    ) -> list[str]:
        from circuitgraph.cli.inputs import check_same_model
        from circuitgraph.jobs.replay import (
            list_questions,
            load_recorded_task,
            replay_evaluation,
            replay_search,
        )

        model = self._load_model(record, circuit, folder)
        try:
            check_same_model(record.model, model, "")
        except ModelError as error:
            return [str(error).strip()]
        settings: dict[str, Any] = {"tolerance": self._tolerance, "memory": self._memory}
        if self._search:
            task = load_recorded_task(record, model, folder)
            return replay_search(model, task, circuit, record, **settings)
        if not stored:
            raise DataError("It was never judged, so that there is nothing to compare.")
        problems: list[str] = []
        for same in list_questions(stored):
            task = load_recorded_task(record, model, folder, same[0].seed)
            problems += replay_evaluation(model, task, circuit, *same, **settings)
        return problems

    def _load_model(self, record: CircuitRecord, circuit: Circuit, folder: Path) -> LanguageModel:
        import circuitgraph as cg
        from circuitgraph.models.loading import find_model

        if record.model is None:
            raise DataError("It names no model.")
        keywords = options.gather_loading(
            self._loading, circuit.provenance, is_own=True, path=folder
        )
        name = find_model(record.model.name, folder)
        key = json.dumps([name, keywords], sort_keys=True, default=str)
        if self._model is None or key != self._key:
            self._model, self._key = None, None  # before the next one takes its memory
            self._model, self._key = cg.load_model(name, **keywords), key
        return self._model


def _format_lines(done: VerifiedEntry) -> list[str]:
    mark = {SAME: "+", NOT_RUN: "?"}.get(done.outcome, "-")
    head = f"{mark} {done.entry}: {done.outcome} ({done.seconds:.1f} s)"
    return [head, *(f"    {make_printable(problem)}" for problem in done.problems)]


def _report_outcomes(output: Output, done: list[VerifiedEntry], tolerance: float) -> None:
    """The closing line, or everything as JSON; and the exit status."""
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
