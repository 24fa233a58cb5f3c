"""``circuitgraph evaluate``: judge a stored circuit on prompts that its search did not see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuitgraph.cli import options
from circuitgraph.cli.judgements import check_curve_files, tables, write_curve_files
from circuitgraph.cli.options import check_counts, memory_bytes
from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import check_names, choose_model, keep_compiled_programs, load
from circuitgraph.errors import ArgumentError, ModelError, unknown_name

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.prompts import Split

KNOWN = "known"  # what ``--truth`` takes where the model's maker says what is true


def evaluate(
    circuit: Annotated[Path, typer.Argument(help="Folder of a circuit, or its circuit.json.")],
    model: options.ModelOption = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Another task than the circuit's own.")
    ] = None,
    data: options.DataOption = None,
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
    split: Annotated[
        str, typer.Option("--split", help="Which prompts: evaluation or discovery.")
    ] = "evaluation",
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
    from circuitgraph import judging
    from circuitgraph.catalog.files import load_circuit, load_record

    output, files = Output(as_json, quiet), curve_out or []
    asked = _asked(measures, everything, truth, files)
    question: dict[str, Any] = {
        "metric": metric,
        "ablation": ablation,
        "n_prompts": limit,
        "memory": memory_bytes(memory),
    }
    question |= {"split": _split(split), "force_seen": force_seen}
    check_names(metric, ablation)
    check_counts(limit, 2, seed)
    check_curve_files(files)
    record, stored = load_record(circuit), load_circuit(circuit)
    true = load_circuit(truth) if truth not in (None, KNOWN) else None
    task, data, arguments = _prompts(record, task, data)
    if seed is None:
        seed = record.task.seed if record.task else 0
    name = choose_model(model or (record.model.name if record.model else None), task, data)
    keep_compiled_programs()
    loaded, chosen = load(output, name, task, data, seed, arguments)
    if model is None:
        _check_model(record, loaded)
    if truth == KNOWN:
        true = judging.true_circuit(loaded, chosen, stored)
    found = judging.judge(
        loaded, chosen, stored, measures=asked, truth=true, bar=output.shows_bars, **question
    )
    if found.curve is not None:
        write_curve_files(files, found.curve, f"{name}: {found.metric}, {found.n_prompts} prompts")
    output.result(found.model_dump_json(indent=2), *tables(found))
    if "quick" in asked and found.minimality is None:
        output.say(
            "Completeness and minimality would take long here and were left out: ask for them with "
            "--measures."
        )


def _asked(
    measures: str | None, everything: bool, truth: str | None, files: list[Path]
) -> list[str]:
    """The measures to take; a true circuit and files for a curve ask for theirs."""
    from circuitgraph.evaluation.measures import check_measures

    if measures is not None and everything:
        raise ArgumentError("Both --measures and --all were given: give one of them.")
    names = [name.strip() for name in (measures or ("all" if everything else "quick")).split(",")]
    names += ["truth"] * (truth is not None) + ["curve"] * bool(files)
    check_measures(names)
    return names


def _split(name: str) -> Split:
    from circuitgraph.tasks.prompts import SPLITS

    for split in SPLITS:
        if name == split:
            return split
    raise unknown_name("split", name, SPLITS)


def _prompts(
    record: CircuitRecord, task: str | None, data: Path | None
) -> tuple[str | None, Path | None, dict[str, Any]]:
    """Task or data file with its arguments: those that were given, else those of the search."""
    if task is not None or data is not None:
        return task, data, {}
    if record.task is None:
        raise ArgumentError("This circuit names no task: give one with --task or --data.")
    file = record.task.arguments.get("data")
    return (None, Path(file), {}) if file else (record.task.name, None, record.task.arguments)


def _check_model(record: CircuitRecord, model: LanguageModel) -> None:
    """Refuse to judge a circuit, without being asked to, in another model than it was found in."""
    then, now = record.model, model.tokenizer.fingerprint if model.tokenizer else None
    if then is None:
        return
    found = {
        "weights": (model.fingerprint, then.weights_sha256),
        "tokenizer": (now, then.tokenizer_sha256),
    }
    for part, (is_now, was) in found.items():
        if is_now != was:
            raise ModelError(
                f"The {part} of {then.name!r} changed since the circuit was found in it (SHA-256 "
                f"{str(is_now)[:12]}, not {str(was)[:12]}). To judge it all the same, name the "
                "model with --model."
            )
