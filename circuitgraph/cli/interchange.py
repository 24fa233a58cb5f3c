"""``circuitgraph interchange``: variables of a hypothesis, swapped alone and in pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.inputs import keep_compiled_programs
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.tables import format_mean, make_table

if TYPE_CHECKING:
    from circuitgraph.catalog.interchange_record import InterchangeRecord


@options.expand_options
def interchange(
    file: Annotated[
        Path,
        typer.Argument(help="A hypothesis file. It is executed as Python.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder, shipped model or hub name. [default: the file's]"),
    ] = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    dictionaries: options.DictionariesOption = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "--n", help="How many prompts. [default: 2000, or all of a file with fewer]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the prompts and of the donors.")] = 0,
    memory: Annotated[
        float | None,
        typer.Option("--memory", help="Limit for what is kept, in GiB. [default: by the machine]"),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Swap what each variable's sites write with another prompt's, and see whether the model
    follows the program.

    THE FILE IS EXECUTED AS PYTHON: run only those that you would run as a program.

    Shows the interchange accuracy of each variable and of each pair, the prompts on which the model
    does not follow, and how much of the behaviour goes when a variable's claimed paths alone are
    resampled (necessity). Nothing is held against a bound here: `H.expect("interchange_accuracy",
    of=...)` and `H.expect("necessity")` do that.

    Examples:

    - `circuitgraph interchange hypotheses/induction.py`

    - `circuitgraph interchange hypotheses/ioi.py --limit 500 --json`
    """
    from circuitgraph.hypotheses.checking import open_checked
    from circuitgraph.hypotheses.evidence import Evidence, choose_count
    from circuitgraph.hypotheses.interventions.table import run_interventions

    output = Output(as_json, quiet)
    check_counts(limit, 2, seed)
    memory_limit = convert_to_bytes(memory)
    hypotheses = cg.load_hypotheses(file)
    keep_compiled_programs()
    records = []
    for hypothesis in hypotheses:
        with output.show_spinner("loading the model, checking the hypothesis"):
            keywords = loading.with_dictionaries(dictionaries)
            study = open_checked(hypothesis, model=model, seed=seed, loading=keywords)
        n = choose_count(study, limit)
        record = run_interventions(Evidence(study, n, seed, output.shows_bars, memory_limit))
        records.append(record)
        if not as_json:
            output.print_result("", *_make_report(record))
    if as_json:
        contents = [record.model_dump(mode="json") for record in records]
        output.print_result(json.dumps(contents[0] if len(contents) == 1 else contents, indent=2))


def _make_report(record: InterchangeRecord) -> list[Table | str]:
    title = (
        f"{record.hypothesis}\n{record.task.name} in {record.model.name}, {record.n:,} unseen "
        "prompts; 95 % intervals"
    )
    headings = ("swapped", "follows", "where it changes", "of prompts")
    swaps = make_table(title, *headings, no_wrap=True)
    for swap in record.swaps:
        swaps.add_row(
            " + ".join(swap.variables),
            format_mean(swap.accuracy),
            format_mean(swap.accuracy_changed),
            f"{swap.n_changed:,} of {swap.n_defined:,}",
        )
    title = "What goes when the claimed paths alone are resampled"
    needs = make_table(title, "resampled", "necessity", no_wrap=True)
    for need in record.necessity:
        needs.add_row(" + ".join(need.variables) or "all leaves", format_mean(need.necessity))
    notes = []
    if any(swap.n_defined == 0 for swap in record.swaps):
        notes = ["", "- the program says nothing after the swap"]
    # A pair mostly fails where one of its two variables does, so that pairs are left out.
    failures = [
        f"\nThe model does not follow {swap.variables[0]}:\n{swap.failures[0]}"
        for swap in record.swaps
        if swap.failures and len(swap.variables) == 1
    ]
    return [swaps, *notes, "", needs, *failures]
