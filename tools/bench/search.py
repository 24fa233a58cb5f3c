"""The searches beside plain torch loops: one command, one table, ratios of one run on one machine.

    python tools/bench/search.py  # about 20 minutes on two idle cores
    python tools/bench/search.py --only A --cases gpt2 --limit 1800
    python tools/bench/search.py --markdown --json figures.json

Quote only ratios: absolute times are those of one machine and of what else it is doing. Everything
is resample ablation on random prompts with fixed seeds (16 of up to 16 tokens). Each measurement
has a process of its own, one at a time, and what others must wait for goes to the end of the search
or to ``--limit``.

A. ACDC. *torch* is the plain loop of ``tests/oracle``, one forward pass for each tested edge, as in
   the reference implementation: the mean of three passes with the masks that the search had at its
   start, middle and end, or the whole search where that can be awaited; then every decision must be
   the same, or the tool ends in an error. *masked* is one run of our masked forward pass on the
   same masks. *frontier* is our search, compile time left out. Times of a search that reached
   ``--limit`` are of its first part, and the table says how far it came. *rows right* is the share
   of speculated rows that counted; *of product* is the operations a second that the frontier did,
   as a share of a 2048 x 768 by 768 x 3072 float32 product's on the same machine.
B. EAP and EAP-IG inputs of all edges, from prompts to scores, beside explicit caches in torch;
   scores must agree.
C. One evaluation of a sparse circuit: the one that A found, or one of random paths; values must
   agree.
D. Compile time of a short search with an empty cache folder, then in a new process with the folder
   it left.
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

from tools.bench.search_tables import Results, Sheet, format_markdown, make_rich_table, make_sheets

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
    """Measurements of one process, each of which needs what the one before it left."""

    section: str
    case: str
    metric: str

    @property
    def title(self) -> str:
        return f"{self.section}: {self.case}, {self.metric}"


def main() -> None:
    options = _parse_options()
    if options.child:
        _run_child(options)
        return
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        results, failed = _run_all(options, Path(folder))
    _print_sheets(options, results)
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


def _parse_options() -> argparse.Namespace:
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
    options = parser.parse_args()
    for name, known in (("only", _PARTS), ("cases", _CASES["A"]), ("metrics", _METRICS["A"])):
        values = getattr(options, name).split(",")
        if not set(values) <= set(known):
            parser.error(
                f"--{name} is {getattr(options, name)!r}; it takes some of {','.join(known)}"
            )
        setattr(options, name, values)
    return options


def _run_child(options: argparse.Namespace) -> None:
    from tools.bench.search_job import Job
    from tools.bench.search_measure import run_measurement

    limits = (options.tiny, options.limit, options.threads)
    run_measurement(Job(options.child, options.case, options.metric, options.work, *limits))
    sys.stderr.flush()
    # All is written. At an ordinary end the libraries' threads sometimes abort the process.
    os._exit(0)


def _measure_here(
    options: argparse.Namespace, task: Task, measurement: str, work: Path
) -> dict[str, Any] | None:
    from tools.bench.search_job import Job
    from tools.bench.search_measure import run_measurement

    limits = (options.tiny, options.limit, options.threads)
    job = Job(measurement, task.case, task.metric, work, *limits)
    try:
        run_measurement(job)
    except SystemExit as error:
        print(error, file=sys.stderr)
        return None
    return json.loads(job.file(measurement, "json").read_text())


def _list_tasks(options: argparse.Namespace) -> list[Task]:
    return [
        Task(section, case, metric)
        for section in options.only
        for case in _CASES[section]
        if case in options.cases and (not options.tiny or case == "gpt2")
        for metric in _METRICS.get(section, _METRICS["A"][:1])
        if section != "A" or metric in options.metrics
    ]


def _run_all(options: argparse.Namespace, work: Path) -> tuple[Results, list[str]]:
    """All numbers by section, case, metric and measurement; and the tasks that failed."""
    results, failed = Results(), []
    for task in _list_tasks(options):
        for measurement in _PARTS[task.section]:
            print(f"{task.title}: {measurement}", file=sys.stderr, flush=True)
            numbers = _measure_task(options, task, measurement, work)
            if numbers is None:
                failed.append(f"{task.title}, {measurement}")
                break
            results.add(task.section, task.case, task.metric, measurement, numbers)
            if options.json:
                options.json.write_text(json.dumps(results.rows, indent=1) + "\n")
    return results, failed


def _measure_task(
    options: argparse.Namespace, task: Task, measurement: str, work: Path
) -> dict[str, Any] | None:
    """Measure in a new process; None if that failed. Tiny models are measured in this process."""
    if options.tiny and task.section != "D":
        return _measure_here(options, task, measurement, work)
    arguments = ["--child", measurement, "--case", task.case, "--metric", task.metric]
    arguments += ["--work", str(work)]
    arguments += ["--limit", str(options.limit), *(["--tiny"] if options.tiny else [])]
    arguments += ["--threads", str(options.threads)] if options.threads else []
    environment = {
        name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"
    }
    environment["HF_HUB_OFFLINE"] = "1"
    if task.section == "D":  # as the command line does, see `engine.compile_cache`
        environment["JAX_COMPILATION_CACHE_DIR"] = str(work / "cache")
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    if subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=sys.stderr
    ).returncode:
        return None
    return json.loads((work / f"{measurement}-{task.case}-{task.metric}.json").read_text())


def _print_sheets(options: argparse.Namespace, results: Results) -> None:
    sheets: list[Sheet] = make_sheets(results)
    if options.markdown:
        print("\n\n".join(format_markdown(sheet) for sheet in sheets))
        return
    for sheet in sheets:
        Console(width=150).print(make_rich_table(sheet))


if __name__ == "__main__":
    main()
