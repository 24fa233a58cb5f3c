"""Which defaults give circuits that do what the model does: candidates on every shipped case.

    python tools/bench/defaults.py --out /tmp/defaults.jsonl
    python tools/bench/defaults.py --out /tmp/defaults.jsonl --model ioi-natural --search acdc
    python tools/bench/defaults.py --out /tmp/defaults.jsonl --markdown docs/defaults.md

A line of the file is one search; a search that has its line is not run again. Every circuit is
judged on prompts that no search saw, by the task's metric and by KL to the whole model. The table
is printed, or replaces what stands between the marks in a Markdown file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from circuitgraph.discovery.base import make_algorithm
from circuitgraph.discovery.loop import run_search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.evaluation.baselines import Baselines
from circuitgraph.jobs.leaderboard import LeaderboardCase, choose_metric, list_cases
from circuitgraph.jobs.setup import Terms
from circuitgraph.jobs.workbench import Workbench
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task

N_DISCOVERY, N_EVALUATION = 50, 100
BEGIN, END = "<!-- defaults: begin -->", "<!-- defaults: end -->"
GRADIENTS = ("clean-corrupted", "eap", "eap-ig-activations", "eap-ig-inputs", "hisp", "relp")
SCORES = (*GRADIENTS, "exact", "information-flow", "random")


@dataclass(frozen=True)
class Candidate:
    """One way to set a search.

    Attributes:
        metric: ``own``, the task's (logit difference where that is KL), or ``kl``.
        share: ACDC's threshold as a share of what lies between the whole model and nothing.
    """

    search: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)
    metric: str = "own"
    share: float | None = None

    @property
    def name(self) -> str:
        """What a line of the file and of the table calls it."""
        return f"{self.search}: {self.words}"


def list_candidates() -> Iterator[Candidate]:
    """All candidates, those of one search side by side."""
    for absolute in (False, True):
        word = "absolute" if absolute else "signed"
        settings = {"absolute": absolute}
        yield Candidate("acdc", f"{word}, 0.1", {**settings, "threshold": 0.1})
        for share in (0.002, 0.005, 0.01, 0.02):
            yield Candidate("acdc", f"{word}, {share:.1%} of the gap", settings, share=share)
        for threshold in (0.1, 0.03, 0.01):
            words = f"{word}, KL, {threshold}"
            yield Candidate("acdc", words, {**settings, "threshold": threshold}, "kl")
    sizes = {"5 % of the edges": {"share": 0.05}, "95 % faithful": {"faithfulness": 0.95}}
    for search, (words, size) in itertools.product(SCORES, sizes.items()):
        for way in ("top", "greedy"):
            yield Candidate(search, f"{words}, {way}", {**size, "selection": way})
    before = {"scores": "eap", "keep": 0.2, "absolute": False, "threshold": 0.1}
    yield Candidate("hybrid", "eap, 20 % of the edges, signed, 0.1", before)
    shares = {"20 % of the edges": 0.2, "50 % of the edges": 0.5, "99 % faithful": None}
    for scores, (words, keep) in itertools.product(("eap", "eap-ig-inputs"), shares.items()):
        settings = {"scores": scores, "keep": keep, "absolute": True}
        words = f"{scores}, {words}, absolute, 0.2 % of the gap"
        yield Candidate("hybrid", words, settings, share=0.002)


@dataclass(frozen=True, eq=False)
class Trial:
    """A case with the prompts of one seed: what its candidates share."""

    case: LeaderboardCase
    seed: int
    model: LanguageModel

    @cache  # noqa: B019 # a trial lives as long as its experiments
    def search_by(self, metric: str) -> Experiment:
        """The experiment that candidates search in."""
        task = load_task(self.case.task, self.model, seed=self.seed)
        chosen = choose_metric(task) if metric == "own" else metric
        terms = Terms(metric=chosen, n_prompts=N_DISCOVERY)
        return Workbench(self.model, task, terms).prepare()[0]

    @cache  # noqa: B019
    def judge_by(self) -> tuple[Experiment, Baselines]:
        """The experiment over unseen prompts, the same for all seeds."""
        task = load_task(self.case.task, self.model, seed=0)
        terms = Terms(metric=choose_metric(task), n_evaluation=N_EVALUATION)
        experiment, _ = Workbench(self.model, task, terms).prepare("evaluation")
        return experiment, Baselines.of(experiment)

    def measure(self, candidate: Candidate) -> dict[str, Any]:
        """One line: the circuit of a candidate, and how it does on unseen prompts."""
        searching, settings = self.search_by(candidate.metric), dict(candidate.settings)
        if candidate.share is not None:
            ends = Baselines.of(searching)
            gap = abs(float(ends.full.mean(dtype=float) - ends.empty.mean(dtype=float)))
            settings["threshold"] = candidate.share * gap
        circuit = run_search(make_algorithm(candidate.search, **settings), searching)
        judging, ends = self.judge_by()
        value = float(judging.values(circuit.mask[None])[0].mean(dtype=float))
        full, empty = (float(end.mean(dtype=float)) for end in (ends.full, ends.empty))
        return {
            "task": self.case.task,
            "model": self.case.model,
            "candidate": candidate.name,
            "seed": self.seed,
            "edges": circuit.edges,
            "share": len(circuit) / circuit.graph.n_edges,
            "faithfulness": (value - empty) / (full - empty),
            "value": value,
            "full": full,
            "kl": float(judging.metric_values(circuit.mask, ["kl"])[0].mean(dtype=float)),
            "seconds": circuit.provenance["algorithm"]["seconds"],
        }


def run_trials(
    out: Path, cases: list[LeaderboardCase], candidates: list[Candidate], seeds: range
) -> None:
    """Run what the file does not hold yet; every line is written as soon as it is measured."""
    known = {_name_line(line) for line in read_lines(out)}
    n_searches = len(cases) * len(candidates) * len(seeds)
    with tqdm(total=n_searches, unit="search") as progress, open(out, "a") as file:
        for case in cases:
            model = load_model(case.model)
            for seed in seeds:
                trial = Trial(case, seed, model)
                for candidate in candidates:
                    progress.set_description(f"{case.task}, {case.model}, {candidate.name}")
                    if (case.task, case.model, candidate.name, seed) not in known:
                        print(json.dumps(trial.measure(candidate)), file=file, flush=True)
                    progress.update()


def read_lines(out: Path) -> list[dict[str, Any]]:
    """The lines of the file, in their order."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def _name_line(line: dict[str, Any]) -> tuple[str, str, str, int]:
    return line["task"], line["model"], line["candidate"], line["seed"]


def format_table(lines: list[dict[str, Any]]) -> str:
    """A row for each candidate, over all cases and seeds."""
    of_candidate: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        of_candidate[line["candidate"]].append(line)
    headings = (
        "candidate",
        "cases",
        "size",
        "faithfulness",
        "0.95 to 1.05",
        "above 1.05",
        "farthest",
        "KL",
        "stability",
        "seconds",
    )
    rows = [headings, ("---",) * len(headings)]
    rows += [(name, *_summarise(of_candidate[name])) for name in sorted(of_candidate)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _summarise(lines: list[dict[str, Any]]) -> tuple[str, ...]:
    values = np.array([line["faithfulness"] for line in lines])
    within, above = np.abs(values - 1) <= 0.05, values > 1.05
    of_case: dict[tuple[str, str], list[set[str]]] = defaultdict(list)
    for line in lines:
        of_case[line["task"], line["model"]].append(set(line["edges"]))
    pairs = [edges for edges in of_case.values() if len(edges) == 2]
    overlaps = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in pairs]
    return (
        str(len(of_case)),
        f"{np.median([line['share'] for line in lines]):.1%}",
        f"{np.median(values):.3f}",
        f"{within.mean():.0%}",
        f"{above.mean():.0%}",
        f"{values[np.argmax(np.abs(values - 1))]:.2f}",
        f"{np.median([line['kl'] for line in lines]):.3f}",
        f"{np.mean(overlaps):.2f}" if overlaps else "-",
        f"{np.median([line['seconds'] for line in lines]):.1f}",
    )


def write_table(table: str, file: Path) -> None:
    """Put the table between the marks of a Markdown file."""
    before, rest = file.read_text().split(BEGIN)
    file.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{rest.split(END)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSONL file of measurements")
    parser.add_argument("--task", action="append", help="only this task; repeatable")
    parser.add_argument("--model", action="append", help="only this model; repeatable")
    parser.add_argument("--search", action="append", help="only this algorithm; repeatable")
    parser.add_argument("--only", default="", help="only candidates with this text in their name")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="file whose table is replaced; runs nothing")
    options = parser.parse_args()
    candidates = [
        candidate
        for candidate in list_candidates()
        if (options.search is None or candidate.search in options.search)
        and options.only in candidate.name
    ]
    if options.markdown is None:
        cases = list_cases(options.task, options.model)
        run_trials(options.out, cases, candidates, range(options.seeds))
        print(format_table(read_lines(options.out)))
    else:
        write_table(format_table(read_lines(options.out)), options.markdown)


if __name__ == "__main__":
    main()
