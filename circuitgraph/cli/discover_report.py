"""What ``discover`` shows and writes: circuits with pictures, curves, the forecast of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from circuitgraph.catalog.curve_files import write_curve
from circuitgraph.catalog.files import make_circuit_record, write_circuit
from circuitgraph.cli.circuit_notes import (
    describe_curve_overshoot,
    describe_dropped,
    describe_overshoot,
    describe_rests,
)
from circuitgraph.cli.pairs import format_behaviour, show_tokens
from circuitgraph.cli.tables import format_interval, make_judgement_table, make_table
from circuitgraph.drawing.dot import render
from circuitgraph.drawing.graphviz_output import INSTALL_HINT, LayoutError

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CurveRecord, EvaluationRecord
    from circuitgraph.cli.output import Output
    from circuitgraph.cli.run_folder import RunFolder
    from circuitgraph.graph.circuit import Circuit
    from circuitgraph.jobs.discover import SearchPlan
    from circuitgraph.jobs.sweep import Curve
    from circuitgraph.jobs.workbench import Workbench

_N_ROWS = 25
NOT_JUDGED = "Not judged: the search saw all pairs, so nothing says how it does on others."


def forecast_search(
    output: Output, bench: Workbench, plan: SearchPlan, n_searches: int = 1
) -> None:
    """Print what a search would take.

    Sizes follow from the shapes; the time from steps that are taken and thrown away. Of a search
    that chooses its units it is the first one: the second is inside the first one's circuit.

    Args:
        n_searches: number of thresholds, of which the algorithm has the lowest. What they share is
            not known: the range is from one search to all of them one after the other.
    """
    from circuitgraph.discovery.forecast import forecast_seconds
    from circuitgraph.engine.precision import count_bytes
    from circuitgraph.graph.space import make_space
    from circuitgraph.models.sharding import count_cut_bytes

    model, algorithm = bench.model, plan.algorithm
    graph = bench.make_graph(direct=algorithm.direct)
    space = make_space(graph, **plan.space)
    algorithm.check_space(space)
    prompts = bench.draw_prompts("discovery")
    experiment = bench.make_experiment(prompts, graph, space=space)
    with output.show_spinner("timing some steps of the search"):
        forecast = forecast_seconds(algorithm, experiment)
    likely, high = (forecast.likely * n_searches**0.5, forecast.high * n_searches)
    seconds = experiment.seconds_per_evaluation()
    n_evaluations = algorithm.count_evaluations(graph) * n_searches
    weights = count_cut_bytes(model.transformer) or count_bytes(model.dtype) * model.n_parameters
    bytes_needed = experiment.sizes.bytes_needed + weights
    facts = {
        "model": model.name,
        "precision": model.dtype,
        "parameters": model.n_parameters,
        "writers": len(graph.writers),
        "readers": len(graph.readers),
        "edges": graph.n_edges,
        "prompts": len(prompts),
        "longest_prompt_tokens": prompts.mask.shape[1],
        "prompts_per_launch": experiment.sizes.prompts,
        "memory_mib": round(bytes_needed / 2**20, 1),
        "evaluations_at_most": n_evaluations,
        "seconds_per_evaluation": round(seconds, 4),
        "minutes": round_digits(likely / 60),
        "minutes_low": round_digits(forecast.low / 60),
        "minutes_high": round_digits(high / 60),
        "seconds_sampled": round(forecast.sampled, 1),
    } | ({} if forecast.n_kept is None else {"edges_kept_about": forecast.n_kept})
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(
            name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)
        )
    output.print_result(json.dumps(facts, indent=2), table)


def round_digits(value: float) -> float:
    """A value to two digits, which is more than a forecast knows."""
    return float(f"{value:.2g}")


def describe_prompts(output: Output, bench: Workbench) -> None:
    """Say how the first prompt of the search tokenises, and how often the whole model is right."""
    from circuitgraph.evaluation.behaviour import observe_behaviour

    if output.quiet or output.as_json:
        return
    prompts = bench.draw_prompts("discovery")
    behaviour = observe_behaviour(bench.model, prompts)
    output.print_message(f"The first prompt: {show_tokens(prompts, 0, bench.task.tokenizer)}")
    output.print_message(format_behaviour(behaviour))


def store_run(
    output: Output, folder: RunFolder, circuit: Circuit, evaluation: EvaluationRecord | None
) -> None:
    """Write all files of a run, then print the circuit and its judgement."""
    with folder.write_results() as inside:
        write_circuit(circuit, inside, evaluation)
        hint = _draw_circuit(circuit, inside)
    record = make_circuit_record(circuit, evaluation)
    output.print_result(
        record.to_json(),
        make_headline(circuit, describe_dropped(record.algorithm, len(circuit))),
        make_edge_table(circuit),
        "",
        NOT_JUDGED if evaluation is None else make_judgement_table(evaluation),
        "",
        f"Written to {folder.target}/",
    )
    if record.refinement:
        output.print_message(describe_rests(record.refinement))
    if evaluation is not None and (note := describe_overshoot(evaluation)):
        output.print_message(note)
    close = record.algorithm.close_calls if record.algorithm else []
    if close:
        names = ", ".join(close[:5]) + (" ..." if len(close) > 5 else "")
        precision = record.environment.precision if record.environment else "float32"
        n_tested = record.algorithm.n_tested if record.algorithm else 0
        output.print_message(
            f"Decisions nearer to the threshold than rounding in {precision}: {len(close):,} of "
            f"{n_tested:,} ({names})"
        )
    if hint:
        output.print_message(hint.replace("{where}", str(folder.target)))


def _draw_circuit(circuit: Circuit, folder: Path) -> str | None:
    """Draw a circuit; if there is no picture then, return what to tell the user."""
    render(circuit, folder / "circuit.dot")
    try:
        picture = render(circuit, folder / "circuit.svg")
    except LayoutError as error:
        return f"There is no picture, but all else. {error}"
    return None if picture.suffix == ".svg" else INSTALL_HINT


def store_curve(output: Output, folder: RunFolder, curve: Curve) -> None:
    """Write all files of a sweep, then print its curve and what the searches shared."""
    with folder.write_results() as inside:
        record = write_curve(curve.record, curve.circuits, inside)
    saved = 1 - record.n_tested / record.n_alone if record.n_alone else 0.0
    summary = (
        f"{record.n_tested:,} edges tested for all thresholds together, {record.n_alone:,} one "
        f"after the other: {saved:.0%} saved"
    )
    output.print_result(
        record.model_dump_json(indent=2),
        make_curve_table(record),
        "",
        summary,
        f"Written to {folder.target}/",
    )
    if note := describe_curve_overshoot(record.points):
        output.print_message(note)
    close = {name for c in curve.circuits for name in c.provenance["algorithm"]["close_calls"]}
    if close:
        output.print_message(
            f"Edges with a decision nearer to a threshold than rounding: {len(close)}"
        )


def make_curve_table(record: CurveRecord) -> Table:
    n_prompts = record.points[0].evaluation.n_prompts
    table = make_table(
        f"{record.metric}, {record.ablation} ablation, {record.n_edges:,} edges; on {n_prompts} "
        "unseen prompts",
        "threshold",
        "edges",
        "metric",
        "faithfulness",
        "95 % interval",
        "random circuits",
        n_left=0,
    )
    for point in record.points:
        table.add_row(
            str(point.threshold),
            f"{point.n_edges:,}",
            format_interval(point.evaluation.circuit)[0],
            *format_interval(point.evaluation.faithfulness),
            format_interval(point.evaluation.random_faithfulness)[0],
        )
    full = format_interval(record.points[0].evaluation.full)[0]
    table.add_row("whole model", f"{record.n_edges:,}", full, "1.000", "", "")
    return table


def make_headline(circuit: Circuit, dropped: str | None) -> Text:
    """The size of a circuit, and of its part that lies on paths through the whole graph.

    Args:
        dropped: why it has fewer edges than were selected, if it has.
    """
    line = f"{len(circuit)} of {circuit.graph.n_edges} edges, {len(circuit.nodes)} nodes"
    n_on_path = len(circuit.pruned())
    if n_on_path < len(circuit):
        line += f"; {n_on_path} edges on a path from embed to logits"
    return Text("; ".join(filter(None, (line, dropped))), "bold")


def make_edge_table(circuit: Circuit) -> Table:
    """The strongest edges of a circuit as a table."""
    scores = circuit.scores if circuit.scores is not None else circuit.mask.astype(float)
    strongest = sorted(circuit.mask.nonzero()[0], key=lambda i: -abs(scores[i]))
    table = Table(box=None, pad_edge=False)
    table.add_column("edge")
    table.add_column("effect", justify="right")
    for i in strongest[:_N_ROWS]:
        is_untested = circuit.tested is not None and not circuit.tested[i]  # it is protected
        table.add_row(circuit.graph.edges[i], "protected" if is_untested else f"{scores[i]:.4f}")
    if len(strongest) > _N_ROWS:
        table.add_row(f"... and {len(strongest) - _N_ROWS} weaker ones", "")
    return table
