"""``circuitgraph evaluate``: judge a stored circuit on prompts that its search did not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import circuitgraph as cg
from circuitgraph.cli import options
from circuitgraph.cli.circuit_notes import describe_overshoot
from circuitgraph.cli.circuit_places import find_circuit
from circuitgraph.cli.completion import complete_tasks
from circuitgraph.cli.inputs import (
    check_names,
    check_same_model,
    check_setup,
    check_split,
    choose_task,
    gather_task_settings,
    keep_compiled_programs,
    open_setup,
)
from circuitgraph.cli.options import check_counts, convert_to_bytes
from circuitgraph.cli.output import Output
from circuitgraph.errors import ArgumentError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.tasks.base import Task

KNOWN = "known"  # what ``--truth`` takes where the model's maker says what is true


@options.expand_options
def evaluate(
    circuit: options.CircuitArgument,
    model: options.ModelOption = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", autocompletion=complete_tasks, help="Another task than the circuit's own."
        ),
    ] = None,
    data: options.DataOption = None,
    bos: options.BosOption = None,
    chat: options.ChatOption = None,
    metric: options.MetricOption = None,
    ablation: options.AblationOption = None,
    measures: Annotated[
        str | None,
        typer.Option(
            "--measures",
            help="Between commas: completeness, minimality, curve, truth, stability; all; quick. "
            "[default: quick]",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every measure that this circuit allows.")
    ] = False,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth",
            help="The true circuit: its folder or circuit.json, or `known` if the model has one.",
        ),
    ] = None,
    curve_out: Annotated[
        list[Path] | None,
        typer.Option(
            "--curve-out",
            help="Write the size curve: .csv, or .png, .svg, .pdf (extra: plots). Repeatable.",
        ),
    ] = None,
    split: options.SplitOption = "evaluation",
    force_seen: Annotated[
        bool,
        typer.Option(
            "--force-seen", help="Judge even by prompts that the search saw; the record says so."
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Number of prompts. [default: 200]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the prompts. [default: the run's]")
    ] = None,
    memory: options.MemoryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Judge a circuit on unseen prompts: faithfulness beside random circuits, KL, accuracy,
    completeness, minimality.

    Examples:

    - `circuitgraph evaluate runs/induction --metric kl`

    - `circuitgraph evaluate runs/induction --all --curve-out curve.csv --curve-out curve.png`

    - `circuitgraph evaluate runs/induction --measures curve,truth --truth runs/true-circuit`
    """
    from circuitgraph.catalog.files import load_record

    circuit = find_circuit(circuit)
    record = load_record(circuit)
    options.prepare_precision(loading.dtype or _read_precision(record))  # before jax is imported
    from circuitgraph.cli import evaluate_report as report
    from circuitgraph.jobs.judge import find_true_circuit, judge_circuit
    from circuitgraph.jobs.setup import Setup

    output, files = Output(as_json, quiet), curve_out or []
    names = _choose_measures(measures, everything, truth, files)
    memory_limit, prompt_split = convert_to_bytes(memory), check_split(split)
    check_names(metric, ablation)
    check_counts(limit, 2, seed)
    report.check_curve_files(files)
    stored_circuit = cg.load_circuit(circuit)
    setup = Setup.from_record(
        record,
        circuit,
        model=model,
        task=None if task is None and data is None else choose_task(task, data),
        task_settings=gather_task_settings([], bos, chat),
        loading=loading.keywords,
        seed=seed,
    )
    # a circuit's own metric and ablation are taken where none is given
    setup = replace(
        setup,
        metric=metric,
        ablation=ablation,
        n_prompts=limit,
        n_evaluation=limit,
        memory=memory_limit,
    )
    true_circuit = (
        cg.load_circuit(find_circuit(Path(truth))) if truth not in (None, KNOWN) else None
    )
    check_setup(setup)
    keep_compiled_programs()
    bench = open_setup(output, setup)
    _note_changed_file(output, record, bench.task)
    asks_for_other = loading.revision is not None or bench.model.dtype != _read_precision(record)
    if model is None and not asks_for_other:
        advice = "To judge it all the same, name the model with --model."
        check_same_model(record.model, bench.model, advice)
    if truth == KNOWN:
        true_circuit = find_true_circuit(bench.model, bench.task, stored_circuit)
    judgement = judge_circuit(
        bench,
        stored_circuit,
        measures=names,
        truth=true_circuit,
        split=prompt_split,
        force_seen=force_seen,
    )
    if judgement.curve is not None:
        title = f"{bench.model.name}: {judgement.metric}, {judgement.n_prompts} prompts"
        report.write_curve_files(files, judgement.curve, title)
    output.print_result(judgement.model_dump_json(indent=2), *report.make_tables(judgement))
    if note := describe_overshoot(judgement):
        output.print_message(note)
    if "quick" in names and judgement.minimality is None:
        output.print_message(
            "Completeness and minimality would take long here and were left out: ask for them with "
            "--measures."
        )
    n_hanging = len(stored_circuit) - len(stored_circuit.pruned())
    if n_hanging and judgement.ablation != "resample":
        output.print_message(
            f"{n_hanging} of the circuit's {len(stored_circuit)} edges lie on no path from the "
            f"embedding to the logits. Under {judgement.ablation} ablation they still count: a "
            "node that nothing of the circuit feeds writes what it makes of its constant input."
        )


def _choose_measures(
    measures: str | None, everything: bool, truth: str | None, files: list[Path]
) -> list[str]:
    """The measures to take; a true circuit and files for a curve add their own."""
    from circuitgraph.evaluation.measures import check_measures

    if measures is not None and everything:
        raise ArgumentError("Both --measures and --all were given: give one of them.")
    names = [name.strip() for name in (measures or ("all" if everything else "quick")).split(",")]
    names += ["truth"] * (truth is not None) + ["curve"] * bool(files)
    check_measures(names)
    return names


def _note_changed_file(output: Output, record: CircuitRecord, task: Task) -> None:
    """Say that a data file is no more what it was when the circuit was searched for."""
    recorded = {} if record.task is None else record.task.arguments
    old, new = recorded.get("sha256"), task.arguments.get("sha256")
    if old is None or new is None or old == new:
        return
    if Path(recorded["data"]).name == Path(task.arguments["data"]).name:
        output.print_message(
            f"Note: the file {task.arguments['data']!r} has changed since the circuit was searched "
            f"for (SHA-256 {new[:12]}, not {old[:12]}): which of its prompts the search saw is not "
            "known."
        )


def _read_precision(record: CircuitRecord) -> str | None:
    """The precision that the circuit was searched for in."""
    return None if record.environment is None else record.environment.precision
