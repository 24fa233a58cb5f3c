"""What ``discover`` shows and writes: a circuit with its picture, a curve over thresholds, the
forecast of a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from circuitgraph.cli.output import Output
from circuitgraph.cli.shared import interval, judgement

if TYPE_CHECKING:
    from circuitgraph.api import Curve
    from circuitgraph.catalog.records import CurveRecord, EvaluationRecord
    from circuitgraph.discovery.base import Algorithm
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.models.language_model import LanguageModel
    from circuitgraph.tasks.base import Task

_ROWS = 25


def forecast(
    output: Output,
    model: LanguageModel,
    task: Task,
    algorithm: Algorithm[Any],
    question: dict[str, Any],
    n_searches: int = 1,
) -> None:
    """What a search would take: sizes from the shapes, time from one evaluation of the whole model.

    Args:
        n_searches: number of thresholds; that they share tests is not counted on.
    """
    from circuitgraph.api import prepare

    experiment, prompts = prepare(model, task, direct=algorithm.direct, **question)
    seconds = experiment.seconds_per_evaluation()
    graph, most = experiment.graph, algorithm.count_evaluations(experiment.graph) * n_searches
    facts = {
        "model": model.name,
        "parameters": model.n_parameters,
        "writers": len(graph.writers),
        "readers": len(graph.readers),
        "edges": graph.n_edges,
        "prompts": len(prompts),
        "longest_prompt_tokens": prompts.mask.shape[1],
        "prompts_per_launch": experiment.sizes.prompts,
        "memory_mib": round((experiment.sizes.bytes_needed + 4 * model.n_parameters) / 2**20, 1),
        "evaluations_at_most": most,
        "seconds_per_evaluation": round(seconds, 4),
        "minutes_at_most": round(most * seconds / 60, 1),
    }
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(
            name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)
        )
    output.result(json.dumps(facts, indent=2), table)


def write_run(inside: Path, circuit: Circuit, evaluation: EvaluationRecord) -> str | None:
    """All files of a run; returns what to say if there is no picture."""
    from circuitgraph.catalog.files import write_circuit
    from circuitgraph.drawing.dot import render
    from circuitgraph.drawing.graphviz_output import INSTALL_HINT, LayoutError

    write_circuit(circuit, inside, evaluation)
    render(circuit, inside / "circuit.dot")
    try:
        picture = render(circuit, inside / "circuit.svg")
    except LayoutError as error:
        return f"There is no picture, but all else. {error}"
    return None if picture.suffix == ".svg" else INSTALL_HINT


def report_run(
    output: Output,
    circuit: Circuit,
    evaluation: EvaluationRecord,
    target: Path,
    picture: str | None,
) -> None:
    """A circuit, its judgement and its folder."""
    from circuitgraph.catalog.files import make_circuit_record

    record = make_circuit_record(circuit, evaluation)
    close = record.algorithm.close_calls if record.algorithm else []
    output.result(
        record.to_json(),
        _headline(circuit),
        _edges(circuit),
        "",
        judgement(evaluation),
        "",
        f"Written to {target}/",
    )
    if close:
        shown = ", ".join(close[:5]) + (" ..." if len(close) > 5 else "")
        output.say(f"Decisions nearer to the threshold than rounding: {len(close)} ({shown})")
    if picture:
        output.say(picture.replace("{where}", str(target)))


def report_curve(output: Output, curve: Curve, record: CurveRecord, target: Path) -> None:
    """A curve as a table, what was shared, and its folder."""
    saved = 1 - record.n_tested / record.n_alone if record.n_alone else 0.0
    shared = (
        f"{record.n_tested:,} edges tested for all thresholds together, {record.n_alone:,} one "
        f"after the other: {saved:.0%} saved"
    )
    output.result(
        record.model_dump_json(indent=2), _curve(record), "", shared, f"Written to {target}/"
    )
    close = {name for c in curve.circuits for name in c.provenance["algorithm"]["close_calls"]}
    if close:
        output.say(f"Edges with a decision nearer to a threshold than rounding: {len(close)}")


def _curve(record: CurveRecord) -> Table:
    judged = record.points[0].evaluation
    title = f"{record.metric}, {record.ablation} ablation, {record.n_edges:,} edges; on {judged.n_prompts} unseen prompts"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in (
        "threshold",
        "edges",
        "metric",
        "faithfulness",
        "95 % interval",
        "random circuits",
    ):
        table.add_column(heading, justify="right")
    for point in record.points:
        found = point.evaluation
        table.add_row(
            str(point.threshold),
            f"{point.n_edges:,}",
            interval(found.circuit)[0],
            *interval(found.faithfulness),
            interval(found.random_faithfulness)[0],
        )
    return table


def _headline(circuit: Circuit) -> Text:
    """Size of a circuit, and how much of it hangs together."""
    line = f"{len(circuit)} of {circuit.graph.n_edges} edges, {len(circuit.nodes)} nodes"
    on_path = len(circuit.pruned())
    return Text(
        line
        if on_path == len(circuit)
        else f"{line}; {on_path} edges on a path from embed to logits",
        "bold",
    )


def _edges(circuit: Circuit) -> Table:
    """The strongest edges of a circuit as a table."""
    scores = circuit.scores if circuit.scores is not None else circuit.mask.astype(float)
    strongest = sorted(circuit.mask.nonzero()[0], key=lambda i: -abs(scores[i]))
    table = Table(box=None, pad_edge=False)
    table.add_column("edge")
    table.add_column("effect", justify="right")
    for i in strongest[:_ROWS]:
        table.add_row(circuit.graph.edges[i], f"{scores[i]:.4f}")
    if len(strongest) > _ROWS:
        table.add_row(f"... and {len(strongest) - _ROWS} weaker ones", "")
    return table
