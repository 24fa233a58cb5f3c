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

import numpy as np

import circuitgraph as cg
from circuitgraph.api import Curve, prepare_experiment
from circuitgraph.catalog.files import write_circuit
from circuitgraph.catalog.folders import TABLE_FILE, new_folder
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.graph.circuit import Circuit
from circuitgraph.known import find_known_circuit
from circuitgraph.leaderboard import LeaderboardCase, list_cases
from circuitgraph.models.constructed.compile import FAMILY

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05)
ENOUGH = 0.95
SLUG = "acdc"
MEASURES = ("completeness", "minimality", "curve", "stability")


def file_circuit(case: LeaderboardCase, target: Path, seed: int, measures: Sequence[str]) -> None:
    """Search, choose, judge and file one case."""
    model = cg.load_model(case.model)
    task = cg.load_task(case.task, model, seed=seed)
    experiment, prompts = prepare_experiment(model, task)
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
        cg.render(circuit, inside / "circuit.dot")
        (inside / "judgement.json").write_text(judgement.model_dump_json(indent=2) + "\n")
        (inside / TABLE_FILE).write_bytes(format_csv(curve).encode())
        (inside / "card.md").write_text(
            write_card(case, circuit, judgement, curve, faithfulness, i)
        )


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


def format_interval(interval: Interval | None) -> str:
    """A mean with its interval."""
    return (
        "-"
        if interval is None
        else f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    )


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_card(
    case: LeaderboardCase,
    circuit: Circuit,
    judgement: JudgementRecord,
    curve: Curve,
    faithfulness: Sequence[float],
    chosen: int,
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
    return f"""# {case.task} in {case.model}

{len(circuit)} of {circuit.graph.n_edges} edges between {len(circuit.nodes)} nodes: {", ".join(circuit.nodes)}.

    circuitgraph discover {case.task} --model {case.model} --threshold {threshold}

ACDC with {judgement.metric} and {judgement.ablation} ablation. Filed is the smallest circuit that is {ENOUGH:.0%} faithful on
the prompts of the search, or the largest if none is. All intervals (95 %) are over {judgement.n_prompts} prompts that the
search did not see; random circuits are of equal size.

{format_table(["threshold", "edges", "faithfulness, searched", "faithfulness, unseen", "random circuits", ""], points)}

{format_table(["measure", "value"], list_measures(judgement))}

{format_table(["edge", "effect when it was tested"], list_strongest(circuit))}
"""


def list_measures(judgement: JudgementRecord) -> list[tuple[str, str]]:
    """The judgement, a line for each measure."""
    rows = [
        (
            f"{m.metric}: model, circuit, nothing",
            "; ".join(map(format_interval, (m.full, m.circuit, m.empty))),
        )
        for m in judgement.metrics
    ]
    if (c := judgement.completeness) and c.worst:
        nodes = ", ".join(c.worst.nodes) or "a random set"
        worst = f"{format_interval(c.worst.incompleteness)} at {nodes}"
        rows.append(("incompleteness, worst", worst))
        rows.append(("incompleteness, random sets", format_interval(c.random)))
    if (m := judgement.minimality) and m.least:
        rows.append(
            (
                "minimality: least effect of an edge",
                f"{format_interval(m.least.effect)} of {m.least.edge}",
            )
        )
        rows.append(("edges whose effect is not shown", f"{len(m.unneeded)} of {m.n_edges}"))
        rows.append(("minimality: level", f"{m.level}, at a tolerance of {m.tolerance:.3g}"))
    if curve := judgement.curve:
        rows.append(
            (
                "CMD; of random scores",
                f"{format_interval(curve.cmd)}; {format_interval(curve.random_cmd)}",
            )
        )
        rows.append(
            (
                "CPR; of random scores",
                f"{format_interval(curve.cpr)}; {format_interval(curve.random_cpr)}",
            )
        )
        rows.append(("size at 95 % faithfulness", str(curve.size_95)))
    if s := judgement.stability:
        rows.append(
            (
                f"stability: Jaccard overlap of {s.n_discoveries} searches",
                format_interval(s.overlap),
            )
        )
    if t := judgement.truth:
        rows.append(
            (
                "against the true circuit, node pairs",
                f"AUROC {t.promoted.auroc:.3f}, precision {t.promoted.precision:.3f}, recall "
                f"{t.promoted.recall:.3f}",
            )
        )
    return rows


def list_strongest(circuit: Circuit, n: int = 20) -> list[tuple[str, str]]:
    """The edges of largest effect."""
    scores = np.zeros(len(circuit.mask)) if circuit.scores is None else circuit.scores
    order = sorted(np.flatnonzero(circuit.mask), key=lambda i: -abs(scores[i]))
    rows = [(f"`{circuit.graph.edges[i]}`", f"{scores[i]:.4f}") for i in order[:n]]
    return [*rows, (f"{len(order) - n} weaker ones", "")] if len(order) > n else rows


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
