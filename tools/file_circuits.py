"""Find the circuit of every shipped task in every model that knows it, for the catalog.

    python tools/file_circuits.py --out catalog/circuits
    python tools/file_circuits.py --out catalog/circuits --task ioi --model multitask

ACDC searches once at several thresholds, each a share of what lies between the whole model and
nothing. Filed is the smallest circuit that is 95 % faithful on the *discovery* prompts (the largest
if none is); all figures on the card are of other prompts. A circuit that is filed already is left
alone: remove its folder to have it found again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import circuitgraph as cg
from circuitgraph.catalog.card import format_interval, format_table
from circuitgraph.catalog.card import write_card as format_card
from circuitgraph.catalog.files import make_circuit_record, write_circuit
from circuitgraph.catalog.folders import TABLE_FILE, new_folder
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.known import find_known_circuit
from circuitgraph.jobs.leaderboard import LeaderboardCase, list_cases
from circuitgraph.jobs.sweep import Curve
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.constructed.compile import FAMILY

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05)
ENOUGH = 0.95
SLUG = "acdc"
LARGEST_DRAWN = 150  # edges
MEASURES = ("completeness", "minimality", "curve", "stability")


def file_circuit(case: LeaderboardCase, target: Path, seed: int, measures: Sequence[str]) -> None:
    """Search, choose, judge and file one case."""
    model = cg.load_model(case.model)
    task = cg.load_task(case.task, model, seed=seed)
    experiment, prompts = Workbench(model, task).prepare()
    ends = Baselines.of(experiment)
    full, empty = float(ends.full.mean()), float(ends.empty.mean())
    thresholds = [float(f"{share * abs(full - empty):.2g}") for share in SHARES]
    curve = cg.sweep(model, task, thresholds, bar=True)
    sign = -1 if experiment.metric.higher_is_better else 1
    faithfulness = [(sign * point.loss - empty) / (full - empty) for point in curve.record.points]
    i = max((i for i, value in enumerate(faithfulness) if value >= ENOUGH), default=0)
    circuit, true = curve.circuits[i], find_known_circuit(model, task, prompts)
    all_measures = [*measures, "truth"] if true else list(measures)
    judgement = cg.judge(model, task, circuit, measures=all_measures, truth=true, bar=True)
    with new_folder(target) as inside:
        write_circuit(circuit, inside, curve.record.points[i].evaluation)
        picture = cg.render(circuit, inside / choose_picture(circuit)).name
        (inside / "judgement.json").write_text(judgement.model_dump_json(indent=2) + "\n")
        (inside / TABLE_FILE).write_bytes(format_csv(curve).encode())
        (inside / "card.md").write_text(
            write_card(case, circuit, judgement, curve, faithfulness, i, picture)
        )


def choose_picture(circuit: Circuit) -> str:
    """The file of a drawing: DOT alone where a drawing has more edges than anybody reads."""
    return "circuit.svg" if len(circuit) <= LARGEST_DRAWN else "circuit.dot"


def format_csv(curve: Curve) -> str:
    """Sizes and faithfulness of all thresholds."""
    lines = ["threshold,edges,faithfulness,low,high"]
    for point in curve.record.points:
        numbers = _format_numbers(point.evaluation.faithfulness, ",")
        lines.append(f"{point.threshold},{point.n_edges},{numbers}")
    return "\n".join(lines) + "\n"


def _format_numbers(interval: Interval | None, separator: str) -> str:
    return separator.join(
        ["", "", ""]
        if interval is None
        else [f"{x:.4f}" for x in (interval.mean, interval.low, interval.high)]
    )


def write_card(
    case: LeaderboardCase,
    circuit: Circuit,
    judgement: JudgementRecord,
    curve: Curve,
    faithfulness: Sequence[float],
    chosen: int,
    picture: str,
) -> str:
    """What was found, in words and tables, all of it from the measurements."""
    points = [
        [
            point.threshold,
            point.n_edges,
            f"{on_discovery:.3f}",
            format_interval(point.evaluation.faithfulness),
            format_interval(point.evaluation.random_faithfulness),
            "filed" if i == chosen else "",
        ]
        for i, (point, on_discovery) in enumerate(
            zip(curve.record.points, faithfulness, strict=True)
        )
    ]
    threshold = curve.record.points[chosen].threshold
    command = f"    circuitgraph discover {case.task} --model {case.model} --threshold {threshold}"
    choice = (
        f"Filed is the smallest circuit that is {ENOUGH:.0%} faithful on the prompts of the search, or the largest if "
        "none is."
    )
    header = [
        "threshold",
        "edges",
        "faithfulness, searched",
        "faithfulness, unseen",
        "random circuits",
        "",
    ]
    record = make_circuit_record(circuit, curve.record.points[chosen].evaluation)
    sections = [command, choice, format_table(header, points)]
    return format_card(record, judgement, picture=picture, sections=sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder of circuits: MODEL/TASK/acdc below it"
    )
    parser.add_argument("--task", action="append", help="only this task; repeatable")
    parser.add_argument("--model", action="append", help="only this model; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--measures", default=",".join(MEASURES), help="what to judge by, between commas"
    )
    options = parser.parse_args()
    for case in list_cases(options.task, options.model):
        if case.model.startswith(f"{FAMILY}:"):
            continue  # their circuits are known, and tests compare
        target = options.out / case.model / case.task / SLUG
        if target.exists():
            print(f"{target} is there already")
            continue
        print(f"{case.task} in {case.model}")
        file_circuit(case, target, options.seed, options.measures.split(","))


if __name__ == "__main__":
    main()
