"""Find the circuit of every shipped task in every trained model that knows it, and file it in the
catalog.

    python tools/file_circuits.py --out catalog/circuits
    python tools/file_circuits.py --out catalog/circuits --task ioi --model multitask

ACDC searches once at several thresholds, each a share of what lies between the whole model and
nothing. Filed is the
smallest circuit that is 95 % faithful on the *discovery* prompts (the largest if none is); all
figures on the card are
of other prompts. A circuit that is filed already is left alone: remove its folder to have it found
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import circuitgraph as cg
from circuitgraph.api import Curve, prepare
from circuitgraph.catalog.files import write_circuit
from circuitgraph.catalog.folders import TABLE_FILE, new_folder, write_file
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.graph.circuit import Circuit
from circuitgraph.known import known_circuit
from circuitgraph.leaderboard import Case, cases
from circuitgraph.models.constructed.compile import FAMILY

SHARES = (0.002, 0.005, 0.01, 0.02, 0.05)
ENOUGH = 0.95
SLUG = "acdc"
MEASURES = ("completeness", "minimality", "curve", "stability")


def file_circuit(case: Case, target: Path, seed: int, asked: Sequence[str]) -> None:
    """Search, choose, judge and file one case."""
    model = cg.load_model(case.model)
    task = cg.load_task(case.task, model, seed=seed)
    experiment, prompts = prepare(model, task)
    ends = Baselines.of(experiment)
    full, empty = float(ends.full.mean()), float(ends.empty.mean())
    thresholds = [float(f"{share * abs(full - empty):.2g}") for share in SHARES]
    curve = cg.sweep(model, task, thresholds, bar=True)
    sign = -1 if experiment.metric.higher_is_better else 1
    searched = [(sign * point.loss - empty) / (full - empty) for point in curve.record.points]
    i = max((i for i, value in enumerate(searched) if value >= ENOUGH), default=0)
    circuit, true = curve.circuits[i], known_circuit(model, task, prompts)
    measures = [*asked, "truth"] if true else list(asked)
    judged = cg.judge(model, task, circuit, measures=measures, truth=true, bar=True)
    with new_folder(target) as inside:
        write_circuit(circuit, inside, curve.record.points[i].evaluation)
        cg.render(circuit, inside / "circuit.dot")
        (inside / "judgement.json").write_text(judged.model_dump_json(indent=2) + "\n")
        write_file(inside / TABLE_FILE, table_of(curve).encode())
        (inside / "card.md").write_text(card(case, circuit, judged, curve, searched, i))


def table_of(curve: Curve) -> str:
    """Sizes and faithfulness of all thresholds."""
    lines = ["threshold,edges,faithfulness,low,high"]
    for point in curve.record.points:
        lines.append(
            f"{point.threshold},{point.n_edges},{_numbers(point.evaluation.faithfulness, ',')}"
        )
    return "\n".join(lines) + "\n"


def _numbers(interval: Interval | None, between: str) -> str:
    return between.join(
        ["", "", ""]
        if interval is None
        else [f"{x:.4f}" for x in (interval.mean, interval.low, interval.high)]
    )


def shown(interval: Interval | None) -> str:
    """A mean with its interval."""
    return (
        "-"
        if interval is None
        else f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def card(
    case: Case,
    circuit: Circuit,
    judged: JudgementRecord,
    curve: Curve,
    searched: Sequence[float],
    chosen: int,
) -> str:
    """What was found, in words and tables, all of it from the measurements."""
    points = [
        [
            p.threshold,
            p.n_edges,
            f"{on_discovery:.3f}",
            shown(p.evaluation.faithfulness),
            shown(p.evaluation.random_faithfulness),
            "filed" if i == chosen else "",
        ]
        for i, (p, on_discovery) in enumerate(zip(curve.record.points, searched, strict=True))
    ]
    threshold = curve.record.points[chosen].threshold
    return f"""# {case.task} in {case.model}

{len(circuit)} of {circuit.graph.n_edges} edges between {len(circuit.nodes)} nodes: {", ".join(circuit.nodes)}.

    circuitgraph discover {case.task} --model {case.model} --threshold {threshold}

ACDC with {judged.metric} and {judged.ablation} ablation. Filed is the smallest circuit that is {ENOUGH:.0%} faithful on
the prompts of the search, or the largest if none is. All intervals (95 %) are over {judged.n_prompts} prompts that the
search did not see; random circuits are of equal size.

{markdown(["threshold", "edges", "faithfulness, searched", "faithfulness, unseen", "random circuits", ""], points)}

{markdown(["measure", "value"], measures(judged))}

{markdown(["edge", "effect when it was tested"], strongest(circuit))}
"""


def measures(judged: JudgementRecord) -> list[tuple[str, str]]:
    """The judgement, a line for each measure."""
    found = [
        (
            f"{m.metric}: model, circuit, nothing",
            "; ".join(map(shown, (m.full, m.circuit, m.empty))),
        )
        for m in judged.metrics
    ]
    if (c := judged.completeness) and c.worst:
        found.append(
            (
                "incompleteness, worst",
                f"{shown(c.worst.incompleteness)} at {', '.join(c.worst.nodes) or 'a random set'}",
            )
        )
        found.append(("incompleteness, random sets", shown(c.random)))
    if (m := judged.minimality) and m.least:
        found.append(
            ("minimality: least effect of an edge", f"{shown(m.least.effect)} of {m.least.edge}")
        )
        found.append(("edges whose effect is not shown", f"{len(m.unneeded)} of {m.n_edges}"))
    if k := judged.curve:
        found.append(("CMD; of random scores", f"{shown(k.cmd)}; {shown(k.random_cmd)}"))
        found.append(("CPR; of random scores", f"{shown(k.cpr)}; {shown(k.random_cpr)}"))
        found.append(("size at 95 % faithfulness", str(k.size_95)))
    if s := judged.stability:
        found.append(
            (f"stability: Jaccard overlap of {s.n_discoveries} searches", shown(s.overlap))
        )
    if t := judged.truth:
        found.append(
            (
                "against the true circuit, node pairs",
                f"AUROC {t.promoted.auroc:.3f}, precision {t.promoted.precision:.3f}, recall "
                f"{t.promoted.recall:.3f}",
            )
        )
    return found


def strongest(circuit: Circuit, n: int = 20) -> list[tuple[str, str]]:
    """The edges of largest effect."""
    scores = np.zeros(len(circuit.mask)) if circuit.scores is None else circuit.scores
    order = sorted(np.flatnonzero(circuit.mask), key=lambda i: -abs(scores[i]))
    found = [(f"`{circuit.graph.edges[i]}`", f"{scores[i]:.4f}") for i in order[:n]]
    return [*found, (f"{len(order) - n} weaker ones", "")] if len(order) > n else found


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
    given = parser.parse_args()
    for case in cases(given.task, given.model):
        if case.model.startswith(f"{FAMILY}:"):
            continue  # their circuits are known, and tests compare
        target = given.out / case.model / case.task / SLUG
        if target.exists():
            print(f"{target} is there already")
            continue
        print(f"{case.task} in {case.model}")
        file_circuit(case, target, given.seed, given.measures.split(","))


if __name__ == "__main__":
    main()
