"""``circuitgraph scrub``: causal scrubbing of hypotheses, with rivals and nulls beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.inputs import check_names, keep_compiled_programs
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.scrub_report import describe_cost, draw_claims, make_report
from circuitgraph.errors import ArgumentError, check_choice

if TYPE_CHECKING:
    from circuitgraph.catalog.scrub_record import ScrubRecord


@options.expand_options
def scrub(
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
            "--limit",
            "--n",
            help="How many prompts: references, and the pool of donors. [default: 2000, or all of "
            "a file that has fewer]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the prompts and of the donors.")] = 0,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", help="See `circuitgraph list metrics`. [default: the file's, or task's]"
        ),
    ] = None,
    unclaimed: Annotated[
        str | None,
        typer.Option(
            "--unclaimed",
            help="Where inputs that no claim covers come from: joint (for each node one random "
            "prompt), everywhere (one for all nodes), separate (one for each edge), keep (not "
            "resampled). [default: the file's, or joint]",
        ),
    ] = None,
    align: Annotated[
        str | None,
        typer.Option(
            "--align",
            help="role (move a donor's activations to the same roles) or index (take only donors "
            "whose roles stand at the same places). [default: the file's, or role]",
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--draw", help="Draw the tree of claims: .svg, .pdf, .png or .dot."),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option("--memory", help="Limit for what is kept, in GiB. [default: by the machine]"),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Try to refute a hypothesis: resample everything that it says does not matter, and see what is
    left.

    THE FILE IS EXECUTED AS PYTHON: run only those that you would run as a program.

    Shows the share of the loss recovered beside the file's rivals and beside nulls that say
    nothing, what each node costs alone, how much each variable leaves open, and one draw of donors.
    With --json the record; a list of records if the file holds several hypotheses.

    Exit status: 0 if it recovers more than each rival and null, and as much as the file expects of
    loss_recovered; 1 if it does not (refuted), or if the prompts decide neither (not shown); 2 if
    the file or an option cannot be used.

    Examples:

    - `circuitgraph scrub hypotheses/induction.py`

    - `circuitgraph scrub hypotheses/ioi.py --metric kl --unclaimed separate --limit 500`

    - `circuitgraph scrub mine.py --model ./my-model --draw mine.svg`
    """
    from circuitgraph.drawing.graphviz_output import check_drawing
    from circuitgraph.hypotheses.language import ALIGN, UNCLAIMED
    from circuitgraph.hypotheses.scrubbing.scrub import override_settings
    from circuitgraph.hypotheses.study import Study
    from circuitgraph.jobs.scrub import check_scrub

    output = Output(as_json, quiet)
    for name, value, known in (("--unclaimed", unclaimed, UNCLAIMED), ("--align", align, ALIGN)):
        if value is not None:
            check_choice(name, value, known)
    check_names(metric, None)
    check_counts(limit, 2, seed)
    memory_limit = convert_to_bytes(memory)
    if picture is not None:
        check_drawing(picture)
    hypotheses = cg.load_hypotheses(file)
    if picture is not None and len(hypotheses) > 1:
        raise ArgumentError(
            f"--draw draws one hypothesis, but {str(file)!r} holds {len(hypotheses)}."
        )
    keep_compiled_programs()
    records: list[ScrubRecord] = []
    held = True
    for hypothesis in hypotheses:
        with output.show_spinner("loading the model, checking the hypothesis"):
            keywords = loading.with_dictionaries(dictionaries)
            study = Study.open(hypothesis, model=model, seed=seed, loading=keywords)
            study = override_settings(study, metric, unclaimed, align)
            checked = check_scrub(
                study, n=limit, seed=seed, bar=output.shows_bars, memory=memory_limit
            )
        for note in checked.notes:
            output.print_message(f"Note: {note}")
        output.print_message(describe_cost(checked))
        record, verdicts = checked.run(), checked.judge_expectations()
        records.append(record)
        held = held and record.held and all(verdict.held for verdict in verdicts)
        if picture is not None and (hint := draw_claims(record, picture)):
            output.print_message(hint)
        if not as_json:
            output.print_result(
                "", *make_report(record), *(f"Expected: {verdict}" for verdict in verdicts)
            )
    if as_json:
        contents = [record.model_dump(mode="json") for record in records]
        output.print_result(json.dumps(contents[0] if len(contents) == 1 else contents, indent=2))
    if not held:
        raise typer.Exit(1)
