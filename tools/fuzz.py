"""Damaged and hostile files, many of them, for every reader: what held?

    python tools/fuzz.py --cases 10000
    python tools/fuzz.py --reader circuit --cases 1000 --seed 7

A file of the corpus (a shipped circuit, model, tokenizer, and small files that are written here) is
mutated: bytes are changed, cut, repeated; values of JSON are exchanged for hostile ones; counts,
lengths and types of GGUF, headers of safetensors and the entries of journals are changed so that
all around them stays right. Then it is read as a user would. A reader may read it, or refuse it
with an error of circuitgraph's own; any other exception, more than 10 seconds, or 1 GiB beyond the
start is a hole. Exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzz_readers import Reader, list_readers
from mutations import mutate

from circuitgraph.errors import CircuitGraphError

SECONDS, MEMORY = 10, 2**30


@dataclass
class Outcome:
    """What became of the cases of one reader."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    holes: list[str] = field(default_factory=list)


def run_reader(reader: Reader, n: int, seed: int) -> Outcome:
    """Mutate the reader's file ``n`` times and read each."""
    rng, outcome = random.Random(f"{seed} {reader.name}"), Outcome()  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reader.make(folder)
        path = folder / reader.file
        unharmed, before = path.read_bytes(), sorted(folder.rglob("*"))
        reader.read(folder)  # what is not harmed can be read
        for case in range(n):
            content = mutate(unharmed, rng, reader.change)
            path.write_bytes(content)
            start = time.perf_counter()
            word, hole = _try_reading(reader, folder)
            outcome.slowest = max(outcome.slowest, time.perf_counter() - start)
            if sorted(folder.rglob("*")) != before:
                word, hole = "hole", "it wrote files"
            outcome.counts[word] += 1
            if hole:
                outcome.holes.append(f"{reader.name}, seed {seed}, case {case}: {hole}")
    return outcome


def _try_reading(reader: Reader, folder: Path) -> tuple[str, str | None]:
    """``read``, ``refused`` or ``hole``, and what the hole is."""
    try:
        with _alarm():
            reader.read(folder)
    except CircuitGraphError as error:
        if not str(error):
            return "hole", "an error that says nothing"
        return "refused", None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library is no Exception
        return "hole", f"{type(error).__name__}: {str(error)[:200]!r}"
    return "read", None


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise TimeoutError in the body after `SECONDS`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def main() -> int:
    """Run the readers and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=1000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=[reader.name for reader in list_readers()])
    options = parser.parse_args()
    print("| reader | cases | read | refused | holes | slowest s |\n|---|--:|--:|--:|--:|--:|")
    holes: list[str] = []
    readers = [r for r in list_readers() if options.reader in (None, r.name)]
    for reader in readers:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = run_reader(reader, options.cases, options.seed)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if grown > MEMORY:
            outcome.holes.append(f"{reader.name}: {grown / 2**30:.1f} GiB of memory")
        counts = (outcome.counts[word] for word in ("read", "refused", "hole"))
        row = (reader.name, options.cases, *counts, f"{outcome.slowest:.1f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        holes += outcome.holes
    for hole in holes:
        print(hole, file=sys.stderr)
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
