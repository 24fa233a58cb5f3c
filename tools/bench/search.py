"""The searches beside plain torch loops: one command, one table, ratios of one run on one machine.

    python tools/bench/search.py                     # about 20 minutes on two idle cores
    python tools/bench/search.py --only A --cases gpt2 --limit 1800
    python tools/bench/search.py --markdown --json figures.json

Quote only ratios: absolute times are those of one machine and of what else it is doing. Everything
is resample ablation on random prompts with fixed seeds (16 of up to 16 tokens). Each measurement
has a process of its own, one at a time, and what others must wait for goes to the end of the search
or to ``--limit``.

A. ACDC. *torch* is the plain loop of ``tests/oracle``, one forward pass for each tested edge, as in
the reference implementation: the mean of three passes with the masks that the search had at its
start, middle and end, or the whole search where that can be awaited; then every decision must be
the same, or the tool ends in an error. *masked* is one run of our masked forward pass on the same
masks. *frontier* is our search, compile time left out. Times of a search that reached ``--limit``
are of its first part, and the table says how far it came. *rows right* is the share of speculated
rows that counted; *of product* is the operations a second that the frontier did, as a share of a
2048 x 768 by 768 x 3072 float32 product's on the same machine.
B. EAP and EAP-IG inputs of all edges, from prompts to scores, beside explicit caches in torch;
scores must agree.
C. One evaluation of a sparse circuit: the one that A found, or one of random paths; values must
agree.
D. Compile time of a short search with an empty cache folder, then in a new process with the folder
that it left.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.bench.search_tables import Results, Sheet, markdown, rich_table, sheets

_PARTS = {
    "A": ("frontier", "masked", "torch_hooks"),
    "B": ("attribution", "attribution_torch"),
    "C": ("evaluation", "evaluation_torch"),
    "D": ("jit_cold", "jit_warm"),
}
_METRICS = {"A": ("logit_difference", "kl")}
_CASES = {
    "A": ("gpt2", "4x8", "induction-2l"),
    "B": ("gpt2", "4x8"),
    "C": ("gpt2",),
    "D": ("gpt2",),
}


@dataclass(frozen=True)
class Task:
    """A group of measurements that follow each other, each of which needs what the one before it
    left.
    """

    section: str
    case: str
    metric: str

    @property
    def title(self) -> str:
        return f"{self.section}: {self.case}, {self.metric}"


def main() -> None:
    given = _options()
    if given.child:
        _child(given)
        return
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        results, failed = _run_all(given, Path(folder))
    _show(given, results)
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="A,B,C,D", help="sections, such as A,C")
    parser.add_argument("--cases", default=",".join(_CASES["A"]), help="models, such as gpt2,4x8")
    parser.add_argument(
        "--metrics", default=",".join(_METRICS["A"]), help="of section A; the others have the first"
    )
    parser.add_argument(
        "--limit", type=float, default=420.0, help="seconds that one search may take"
    )
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice by default")
    parser.add_argument(
        "--tiny", action="store_true", help="only show that the tool works: figures mean nothing"
    )
    parser.add_argument("--work", type=Path, help="where to write the random models (1 GB)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    for name in ("--child", "--case", "--metric"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    for option, known in (("only", _PARTS), ("cases", _CASES["A"]), ("metrics", _METRICS["A"])):
        named = getattr(given, option).split(",")
        if not set(named) <= set(known):
            parser.error(
                f"--{option} is {getattr(given, option)!r}; it takes some of {','.join(known)}"
            )
        setattr(given, option, named)
    return given


def _child(given: argparse.Namespace) -> None:
    from tools.bench.search_job import Job
    from tools.bench.search_measure import measure

    measure(
        Job(
            given.child,
            given.case,
            given.metric,
            given.work,
            given.tiny,
            given.limit,
            given.threads,
        )
    )
    sys.stderr.flush()
    os._exit(
        0
    )  # all is written; at an ordinary end the libraries' threads sometimes abort the process


def _measured_here(
    given: argparse.Namespace, task: Task, measurement: str, work: Path
) -> dict[str, Any] | None:
    from tools.bench.search_job import Job
    from tools.bench.search_measure import measure

    job = Job(measurement, task.case, task.metric, work, given.tiny, given.limit, given.threads)
    try:
        measure(job)
    except SystemExit as error:
        print(error, file=sys.stderr)
        return None
    return json.loads(job.file(measurement, "json").read_text())


def _tasks(given: argparse.Namespace) -> list[Task]:
    return [
        Task(section, case, metric)
        for section in given.only
        for case in _CASES[section]
        if case in given.cases and (not given.tiny or case == "gpt2")
        for metric in _METRICS.get(section, _METRICS["A"][:1])
        if section != "A" or metric in given.metrics
    ]


def _run_all(given: argparse.Namespace, work: Path) -> tuple[Results, list[str]]:
    """All numbers by section, case, metric and measurement; and what failed, which stops no other
    task.
    """
    results, failed = Results(), []
    for task in _tasks(given):
        for measurement in _PARTS[task.section]:
            print(f"{task.title}: {measurement}", file=sys.stderr, flush=True)
            found = _measured(given, task, measurement, work)
            if found is None:
                failed.append(f"{task.title}, {measurement}")
                break
            results.add(task.section, task.case, task.metric, measurement, found)
            if given.json:
                given.json.write_text(json.dumps(results.rows, indent=1) + "\n")
    return results, failed


def _measured(
    given: argparse.Namespace, task: Task, measurement: str, work: Path
) -> dict[str, Any] | None:
    """Measure in a new process, whose progress is shown; None if it failed. Tiny models are not
    worth processes.
    """
    if given.tiny and task.section != "D":
        return _measured_here(given, task, measurement, work)
    own = [
        "--child",
        measurement,
        "--case",
        task.case,
        "--metric",
        task.metric,
        "--work",
        str(work),
    ]
    own += ["--limit", str(given.limit), *(["--tiny"] if given.tiny else [])]
    own += ["--threads", str(given.threads)] if given.threads else []
    environment = {
        name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"
    }
    environment["HF_HUB_OFFLINE"] = "1"
    if task.section == "D":  # as the command line does, see `cli.shared`
        environment["JAX_COMPILATION_CACHE_DIR"] = str(work / "cache")
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    if subprocess.run(
        [sys.executable, __file__, *own], env=environment, stdout=sys.stderr
    ).returncode:
        return None
    return json.loads((work / f"{measurement}-{task.case}-{task.metric}.json").read_text())


def _show(given: argparse.Namespace, results: Results) -> None:
    made: list[Sheet] = sheets(results)
    if given.markdown:
        print("\n\n".join(markdown(sheet) for sheet in made))
        return
    for sheet in made:
        Console(width=150).print(rich_table(sheet))


if __name__ == "__main__":
    main()
