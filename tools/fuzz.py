"""Damaged and hostile files, many of them, for every reader: what held?

    python tools/fuzz.py --cases 10000
    python tools/fuzz.py --reader circuit --cases 1000 --seed 7

A file of the corpus (a shipped circuit, model, tokenizer, and small files that are written here) is
mutated: bytes are changed, cut, repeated; values of JSON are exchanged for hostile ones. Then it is
read as a user would. A reader may read it, or refuse it with an error of circuitgraph's own; any
other exception, more than 10 seconds, or 1 GiB beyond the start is a hole. Exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuitgraph.errors import CircuitGraphError

ROOT = Path(__file__).resolve().parent.parent
CIRCUIT = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
MODEL = ROOT / "catalog" / "models" / "induction-2l"
SECONDS, MEMORY = 10, 2**30
HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 5, 1.5, 10**6, 10**9, 10**18, 10**30, 10**400, float("inf"), float("nan")),
    *("", "x", "\x1b[2J", "a\nb", "|", "\0", "\ufffe", "\ud800", "../../x", "x" * 16_384),
    *([], {}, [[]], [0] * 1000, {"name": "x", "seed": "y", "data": 5, "threshold": "z"}),
)
TOKENS = (
    *(b"NaN", b"Infinity", b"1e400", b"9" * 5000, b"[" * 5000, b'{"a":' * 5000, b'"\\ud800"'),
    *(b"\xff\xfe", b"\0", b"\xef\xbb\xbf", b"\x1b[31m", b'"a":1,"a":2,', b"\r\n", b"null"),
)
PAIRS = (
    b'{"clean": "dog chair moon dog", "corrupted": "dog chair moon moon", "answer": " chair", '
    b'"distractor": " moon", "roles": {"end": -1}, "score_at": "end"}\n'
)
CONFIG = b"threshold = 0.5\nlimit = 10\nthresholds = [0.1, 0.2]\n[set]\nsteps = 5\n"
TRANSFORMER_LENS = {
    "n_layers": 1,
    "d_model": 8,
    "n_ctx": 8,
    "d_head": 4,
    "n_heads": 2,
    "d_vocab": 6,
    "attn_only": True,
    "act_fn": None,
    "normalization_type": None,
}


@dataclass(frozen=True)
class Reader:
    """A way to read one file.

    Attributes:
        file: the name of the file that is mutated.
        make: writes the unharmed files into a folder.
        read: reads what is in the folder.
    """

    name: str
    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]


@dataclass
class Outcome:
    """What became of the cases of one reader."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    holes: list[str] = field(default_factory=list)


def list_readers() -> list[Reader]:
    """Every reader of files that others may have written."""
    return [
        Reader("circuit", "circuit.json", _copy(CIRCUIT), _read_circuit),
        Reader("scores", "scores.safetensors", _copy(CIRCUIT), _read_circuit),
        Reader("config.json", "config.json", _copy(MODEL), _load_model),
        Reader("weights", "model.safetensors", _copy(MODEL), _load_model),
        Reader("tokenizer", "tokenizer.json", _copy(MODEL), _load_model),
        Reader("tokenizer config", "tokenizer_config.json", _copy(MODEL), _load_model),
        Reader("index", "model.safetensors.index.json", _write_index, _load_model),
        Reader("TransformerLens config", "x.json", _write_lens, lambda d: _load_model(d / "x.pt")),
        Reader("TransformerLens weights", "x.pt", _write_lens, lambda d: _load_model(d / "x.pt")),
        Reader("pairs", "x.jsonl", _write("x.jsonl", PAIRS * 3), _read_pairs("x.jsonl")),
        Reader("table of pairs", "x.csv", _write("x.csv", b"clean,answer\na b, c\n"), _read_table),
        Reader("leaderboard cell", "t/m/a.json", _write_cell, _read_cells),
        Reader("stored hypothesis", "h.json", _write_hypothesis, _read_hypothesis),
        Reader("options", "c.toml", _write("c.toml", CONFIG), _read_options),
    ]


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
            content = mutate(unharmed, rng)
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


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The content with one to three changes: of bytes, or of values where it is JSON."""
    for _ in range(rng.randint(1, 3)):
        change = rng.choice((_change_value, _change_value, _change_bytes, _insert_token))
        content = change(content, rng)
    return content


def _change_value(content: bytes, rng: random.Random) -> bytes:
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return _change_bytes(content, rng)
    places = list(_iterate_places(whole))
    if not places:
        return json.dumps(rng.choice(HOSTILE)).encode()
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        name = rng.choice([value for value in HOSTILE if isinstance(value, str)])
        holder[name] = rng.choice(HOSTILE)
    elif isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(HOSTILE)
    return json.dumps(whole).encode()


def _iterate_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each holder with one of its keys; of a long list only its beginning."""
    if not isinstance(value, dict | list):
        return
    for key in list(value) if isinstance(value, dict) else range(min(len(value), 5)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _iterate_places(value[key])


def _change_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"x")
    # Headers, at the beginning, decide more than the rest.
    most = rng.choice((64, 1024, len(changed)))
    start = rng.randrange(min(most, len(changed)))
    end = min(len(changed), start + rng.choice((1, 4, 64, len(changed))))
    kind = rng.randrange(4)
    if kind == 0:
        changed[start] = rng.randrange(256)
    elif kind == 1:
        del changed[start:end]
    elif kind == 2:
        changed[start:start] = changed[start : start + 64]
    else:
        changed[start : start + 8] = rng.randbytes(8)
    return bytes(changed)


def _insert_token(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(TOKENS) + content[place:]


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


# The corpus


def _copy(source: Path) -> Callable[[Path], None]:
    def copy_files(folder: Path) -> None:
        for path in source.iterdir():
            shutil.copy(path, folder)

    return copy_files


def _write(file: str, content: bytes) -> Callable[[Path], None]:
    def write_file(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return write_file


def _write_index(folder: Path) -> None:
    _copy(MODEL)(folder)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": {"wte.weight": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _write_lens(folder: Path) -> None:
    import torch

    shapes = {"embed.W_E": (6, 8), "pos_embed.W_pos": (8, 8), "unembed.W_U": (8, 6)}
    shapes |= {f"blocks.0.attn.W_{x}": (2, 8, 4) for x in "QKV"} | {"blocks.0.attn.W_O": (2, 4, 8)}
    generator = torch.Generator().manual_seed(0)
    torch.save({n: torch.randn(s, generator=generator) for n, s in shapes.items()}, folder / "x.pt")
    (folder / "x.json").write_text(json.dumps(TRANSFORMER_LENS))


def _write_cell(folder: Path) -> None:
    (folder / "t" / "m").mkdir(parents=True)
    question = {"task": "t", "model": "m", "weights_sha256": "0", "algorithm": "a"}
    question |= {"arguments": {"threshold": 0.5}, "metric": "kl", "ablation": "zero", "seed": 0}
    question |= {"n_discovery": 5, "n_evaluation": 5, "n_bootstraps": 0}
    cell = {"question": question, "score": None, "refused": "why | not"}
    (folder / "t" / "m" / "a.json").write_text(json.dumps(cell))


def _write_hypothesis(folder: Path) -> None:
    variable = {"name": "y", "parents": [], "sites": ["a0.h3"], "source": "def y(p):\n    return 1"}
    record = {"name": "h", "task": "induction", "model": "m", "variables": [variable]}
    record |= {"output": "y", "properties": [{"name": "p", "kind": "injective", "settings": {}}]}
    (folder / "h.json").write_text(json.dumps(record))


# The readers


def _read_circuit(folder: Path) -> None:
    from circuitgraph.catalog.files import load_circuit
    from circuitgraph.drawing.dot import to_dot

    _ = to_dot(load_circuit(folder)).source


def _load_model(path: Path) -> None:
    from circuitgraph.models.loading import load_model

    model = load_model(path, local_only=True)
    if model.tokenizer is not None:
        model.tokenizer.encode("dog chair moon")


def _read_pairs(file: str) -> Callable[[Path], None]:
    def read_file(folder: Path) -> None:
        from circuitgraph.tasks.pair_lines import read_pair_file

        content = read_pair_file(folder / file)
        content.refuse_problems(folder / file, content.problems)

    return read_file


_read_table = _read_pairs("x.csv")


def _read_cells(folder: Path) -> None:
    from circuitgraph.catalog.leaderboard_record import read_cells
    from circuitgraph.cli.leaderboard_report import format_markdown

    format_markdown(read_cells(folder))


def _read_hypothesis(folder: Path) -> None:
    from circuitgraph.catalog.hypothesis_record import HypothesisRecord
    from circuitgraph.errors import DataError
    from circuitgraph.foreign import read_text
    from circuitgraph.hypotheses.writing.file import write_source

    try:
        text = read_text(folder / "h.json")
    except ValueError as error:
        raise DataError(str(error)) from error
    write_source(HypothesisRecord.from_json(text))


def _read_options(folder: Path) -> None:
    import typer

    from circuitgraph.cli.config_file import read_config
    from circuitgraph.cli.main import app

    command = typer.main.get_command(app).commands["discover"]  # pyright: ignore[reportAttributeAccessIssue]
    read_config(command.make_context("discover", [], resilient_parsing=True), folder / "c.toml")


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
