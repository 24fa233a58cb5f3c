"""Commands that are killed at random times, then started again: do they end as if undisturbed?

    python tools/kills.py --kills 300
    python tools/kills.py --case discover --kills 20 --seed 7

Each command runs once undisturbed. Then it is started again and again, each time killed after a
random time by SIGKILL, SIGTERM or SIGINT, in a third of the cases several times in a row, and at
last left to end. All files, and what it printed, must be those of the undisturbed run, apart from
times, with nothing beside them. In every second case each step of writing takes a moment, so that
many kills fall between two of them. Exits 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PRINTED = "printed.txt"  # what a command wrote on stdout
PAUSE = 0.02  # seconds that each step of writing takes in slow runs
_IMPORTED = (
    "circuitgraph.cli.main",
    "circuitgraph.jobs.judge",
    "transformers.models.gpt2.modeling_gpt2",
)
GOOD = (0, 1)  # 1: a claim is refuted, or there is no Graphviz
LIMIT = 300.0  # seconds that no command here needs
_SLOWED = ("write", "rename", "replace", "unlink", "rmdir", "mkdir", "chmod")
_TIMES = re.compile(r'\d+ s on|time="[^"]*"|timestamp="[^"]*"')  # in cards and JUnit's XML
_HYPOTHESIS = """
from circuitgraph.hypotheses import Hypothesis, head, logits
H = Hypothesis("by hand", task="induction", model="induction-2l")
@H.var(at=head(1, 6) @ "A2")
def copied(p):
    return p.token["B1"]
@H.output(at=logits @ "A2")
def answer(copied):
    return copied
H.expect("accuracy", at_least=0.95)
"""


@dataclass(frozen=True)
class Case:
    """A command, as words after ``circuitgraph``, or a script with its words.

    Attributes:
        words: paths are relative to a folder of its own, beside ``given``.
        folder: what is written, where a second start of the same command would refuse it; beside it
            lies a journal while the search goes on.
    """

    words: tuple[str, ...]
    folder: str | None = None

    def choose_words(self, place: Path) -> tuple[str, ...] | None:
        """How the command is started again in ``place``; None if it has nothing left to do."""
        if self.folder is None:
            return self.words
        if (place / self.folder).exists():
            return None
        has_journal = (place / f"{self.folder}.journal.jsonl").exists()
        return (*self.words, "--resume") if has_journal else self.words


@dataclass
class Outcome:
    """What became of the kills of one command.

    Attributes:
        seconds: that it takes undisturbed; the shortest time seen.
    """

    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def _search(words: str) -> Case:
    return Case(("discover", *words.split(), "--quiet", "--out", "runs/it"), "runs/it")


def _case(words: str) -> Case:
    return Case(tuple(words.split()))


def _train(script: str, words: str) -> Case:
    return Case((str(ROOT / "tools" / "train" / script), "--out", "models/it", *words.split()))


CASES: dict[str, Case] = {
    "discover": _search("constructed:histogram --limit 6"),
    "sweep": _search("constructed:histogram --limit 6 --thresholds 0.1,1"),
    "scores": _search("induction --limit 6 --algorithm eap"),
    "learned masks": _search("induction --limit 6 --algorithm edge-pruning --steps 20"),
    "leaderboard": _case(
        "leaderboard --task induction --model induction-2l --algorithm random --algorithm eap "
        "--bootstraps 0 --limit 4 --judging-limit 4 --quiet"
    ),
    "evaluate": _case(
        "evaluate ../given/constructed --all --limit 20 --curve-out curve.csv --json"
    ),
    "scrub": _case("scrub ../given/by_hand.py --limit 20 --json"),
    "interchange": _case("interchange ../given/by_hand.py --limit 20 --json"),
    "test": _case("test ../given/by_hand.py --junitxml report.xml --json"),
    "hypothesize": _case("hypothesize ../given/trained --out mine.py --force --quiet"),
    "render": _case("render ../given/trained --out picture.dot --quiet"),
    "compile": _case("compile induction-2l --verify --json"),
    "training": _train("induction_2l.py", "--steps 20 --batch 8 --heads 2 --width 16"),
}


def start_command(words: tuple[str, ...], place: Path, *, slow: bool = False) -> BaseProcess:
    """Start a command in a folder, in a process of its own that has imported everything already.

    Args:
        slow: let each step of writing take a moment.
    """
    # The server imports once; what it forks for each command has no threads and no JAX backend yet.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED])
    process = context.Process(target=_run_command, args=(words, str(place), slow))
    process.start()
    return process


def _run_command(words: tuple[str, ...], place: str, slow: bool) -> None:
    os.chdir(place)
    # What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    descriptor = os.open(PRINTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    for name in _SLOWED if slow else ():
        setattr(os, name, _slow_down(getattr(os, name)))
    sys.argv = ["circuitgraph", *words]
    if words[0].endswith(".py"):
        sys.path.insert(0, str(Path(words[0]).parent))
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")
        return
    from circuitgraph.cli.main import main

    main()


def _slow_down(call: Any) -> Any:
    def call_slowly(*args: Any, **options: Any) -> Any:
        time.sleep(PAUSE)
        return call(*args, **options)

    return call_slowly


def read_results(place: Path) -> dict[str, Any]:
    """Everything below a folder, without the times that it took; a journal's end is its copy."""
    paths = [p for p in sorted(place.rglob("*")) if not p.name.endswith(".journal.jsonl")]
    return {
        str(path.relative_to(place)): None if path.is_dir() else _read_result(path)
        for path in paths
        if path.name != "errors.txt"
    }


def _read_result(path: Path) -> Any:
    content = path.read_bytes()
    try:
        if path.suffix == ".jsonl":
            return [_drop_times(json.loads(line)) for line in content.splitlines()]
        if path.suffix in {".json", ".txt"}:
            return _drop_times(json.loads(content))
    except ValueError:
        pass
    is_text = path.suffix in {".md", ".xml"}
    return _TIMES.sub("", content.decode()) if is_text else content


def _drop_times(value: Any) -> Any:
    if isinstance(value, dict):
        # A line of a journal has a check of all of it.
        kept = {key for key in value if not key.endswith("seconds") and key != "check"}
        return {key: _drop_times(value[key]) for key in kept}
    return [_drop_times(inner) for inner in value] if isinstance(value, list) else value


def write_given(folder: Path) -> None:
    """Write what the commands are given: two circuits and a hypothesis file."""
    folder.mkdir()
    (folder / "by_hand.py").write_text(_HYPOTHESIS)
    source = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
    shutil.copytree(source, folder / "trained")
    end_command((*CASES["discover"].words, "--out", "constructed"), folder)


def run_whole(case: Case, place: Path) -> tuple[float, dict[str, Any]]:
    """The seconds of an undisturbed run, and its results."""
    place.mkdir()
    start = time.monotonic()
    end_command(case.words, place)
    return time.monotonic() - start, read_results(place)


def end_command(words: tuple[str, ...], place: Path) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed, or did not end.
    """
    process = start_command(words, place)
    process.join(LIMIT)
    if process.exitcode not in GOOD:
        process.kill()
        errors = (place / "errors.txt").read_text()[-500:]
        raise RuntimeError(f"{' '.join(words)} ended with {process.exitcode}: {errors}")


def disturb_run(case: Case, place: Path, outcome: Outcome, rng: random.Random) -> None:
    """Start a command and kill it, once or several times, then let it end."""
    place.mkdir()
    words: tuple[str, ...] | None = case.words
    while words is not None:
        slow, chosen, start = rng.random() < 0.5, rng.choice(SIGNALS), time.monotonic()
        process = start_command(words, place, slow=slow)
        process.join(rng.uniform(0.05, outcome.seconds * (1.2 if slow else 0.9)))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, chosen)
        process.join(LIMIT)
        if process.exitcode in GOOD:
            outcome.counts["ended before"] += 1
            outcome.seconds = min(outcome.seconds, time.monotonic() - start)
            break
        outcome.counts[chosen.name] += 1
        words = case.choose_words(place)
        if rng.random() < 0.67:
            break
    words = case.choose_words(place)
    if words is not None:
        end_command(words, place)


def run_case(name: str, n: int, seed: int, work: Path) -> Outcome:
    """Kill a command ``n`` times."""
    case, rng = CASES[name], random.Random(f"{seed} {name}")  # noqa: S311
    run_whole(case, work / f"first {name}")  # fills the cache of compiled programs
    seconds, whole = run_whole(case, work / f"whole {name}")
    outcome = Outcome(seconds)
    for run in range(3 * n):
        if sum(outcome.counts[sign.name] for sign in SIGNALS) >= n:
            break
        place = work / f"{name} {run}"
        try:
            disturb_run(case, place, outcome, rng)
            results = read_results(place)
        except (RuntimeError, OSError) as error:
            outcome.problems.append(f"{place.name}, seed {seed}: {error}")
            continue
        names = [k for k in results.keys() | whole if results.get(k, 0) != whole.get(k, 0)]
        if names:
            outcome.problems.append(f"{place.name}, seed {seed}: other or missing: {names[:5]}")
        else:
            shutil.rmtree(place)
    return outcome


def main() -> int:
    """Kill the commands and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=280, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", choices=CASES)
    options = parser.parse_args()
    names = [name for name in CASES if options.case in (None, name)]
    words = [sign.name for sign in SIGNALS]
    heads = ("command", *words, "ended before", "otherwise", "s")
    print(f"| {' | '.join(heads)} |\n|---|{'--:|' * (len(heads) - 1)}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")
        write_given(work / "given")
        for name in names:
            start = time.monotonic()
            outcome = run_case(name, -(-options.kills // len(names)), options.seed, work)
            counts = [outcome.counts[word] for word in (*words, "ended before")]
            row = (name, *counts, len(outcome.problems), f"{time.monotonic() - start:.0f}")
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            problems += outcome.problems
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
