"""``circuitgraph interchange``: every variable of a hypothesis swapped, alone and in pairs, and
resampled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts, memory_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import bounded, keep_compiled_programs, plain_table

if TYPE_CHECKING:
    from circuitgraph.catalog.interchange_record import InterchangeRecord, SwapRecord


def interchange(
    file: Annotated[
        Path,
        typer.Argument(help="A hypothesis file. It is executed as Python.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder, shipped model or hub name. [default: the file's]"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "--n", help="How many prompts.")] = 2000,
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
    from circuitgraph.hypotheses.evidence import Evidence
    from circuitgraph.hypotheses.interventions.table import run_interventions
    from circuitgraph.hypotheses.loading import load_hypotheses

    output = Output(as_json, quiet)
    check_counts(limit, 2, seed)
    room = memory_bytes(memory)
    hypotheses = load_hypotheses(file)
    keep_compiled_programs()
    records = []
    for hypothesis in hypotheses:
        with output.waiting("loading the model, checking the hypothesis"):
            study = open_checked(hypothesis, model=model, seed=seed)
        records.append(run_interventions(Evidence(study, limit, seed, output.shows_bars, room)))
        if not as_json:
            output.result("", *_report(records[-1]))
    if as_json:
        contents = [record.model_dump(mode="json") for record in records]
        output.result(json.dumps(contents[0] if len(contents) == 1 else contents, indent=2))


def _report(found: InterchangeRecord) -> list[Table | str]:
    where = f"{found.task.name} in {found.model.name}, {found.n:,} unseen prompts; 95 % intervals"
    swaps = plain_table(
        f"{found.hypothesis}\n{where}", "swapped", "follows", "where it changes", "of prompts"
    )
    for one in found.swaps:
        counted = f"{one.n_changed:,} of {one.n_defined:,}"
        swaps.add_row(
            " + ".join(one.variables), bounded(one.accuracy), bounded(one.accuracy_changed), counted
        )
    needs = plain_table(
        "What goes when the claimed paths alone are resampled", "resampled", "necessity"
    )
    for need in found.necessity:
        needs.add_row(" + ".join(need.variables) or "all leaves", bounded(need.necessity))
    nothing = (
        ["", "- the program says nothing after the swap"]
        if any(s.n_defined == 0 for s in found.swaps)
        else []
    )
    failures = [
        f"\nThe model does not follow {' + '.join(s.variables)}:\n{s.failures[0]}"
        for s in _failed(found)
    ]
    return [swaps, *nothing, "", needs, *failures]


def _failed(found: InterchangeRecord) -> list[SwapRecord]:
    """Pairs mostly fail where one of the two does."""
    return [one for one in found.swaps if one.failures and len(one.variables) == 1]
