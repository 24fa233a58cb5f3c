"""Command lines that make no sense, for every option of every command: is each one refused clearly?

    python tools/bad_lines.py
    python tools/bad_lines.py --command discover

The commands are asked what options they have, and each is given values of another type, out of
range, huge, unknown, with control characters, or none; beside that come unknown options, missing
and superfluous arguments and options that contradict each other. Each line must end with the status
2, and say on stderr what was given and what to do, in lines that can be printed, without a
traceback. Exits 1 if one does not.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., Any]
SECONDS = 20.0  # that a refusal may take
LONG, ESCAPE, HUGE = "x" * 20_000, "\x1b[31mzzz", "9" * 30
_NUMBERS = ("x", "1.5.2", "nan", "", ESCAPE)
_NAMES = ("zzz", ESCAPE, "../../etc/passwd", LONG, "")
_READ = ("nowhere/it", ESCAPE, LONG, "")
_BY_TYPE = {
    "int": (*_NUMBERS, "1.5", "-1", HUGE, f"-{HUGE}"),
    "float": (*_NUMBERS, "inf", "1e400"),
    "str": _NAMES,
    "Path": _READ,
}
_WRITTEN = {
    **dict.fromkeys(("--out", "--junitxml"), ".dot"),
    **{"--markdown": ".md", "--curve-out": ".csv", "--draw": ".dot"},
}
# What a command needs, so that it would run if nothing were wrong.
BASES: dict[str, tuple[str, ...]] = {
    "compile": ("induction-2l",),
    "doctor": ("--local-only",),
    "discover": ("induction", "--limit", "2", "--overwrite", "--algorithm", "random"),
    "evaluate": ("given/circuit", "--limit", "2"),
    "render": ("given/circuit",),
    "view": ("given/circuit", "--no-open"),
    "stability": ("given/circuit", "--samples", "2", "--factors", "1", "--metrics", "kl"),
    "hypothesize": ("given/circuit", "--out", "mine.py", "--force"),
    "leaderboard": ("--task", "induction", "--model", "induction-2l", "--algorithm", "random"),
    "sweep": ("--task", "induction", "--algorithm", "random", "--sizes", "3", "--limit", "2"),
    "scrub": ("given/by_hand.py", "--limit", "2"),
    "interchange": ("given/by_hand.py", "--limit", "2"),
    "test": ("given/by_hand.py",),
    "list": ("tasks",),
    "dictionary": ("given/sae",),
    "analyze": ("logit-lens", "--task", "induction", "--limit", "2"),
    "steer": ("--task", "addition", "--limit", "2", "--scale", "m0.n1=2"),
    "edit": ("--task", "addition", "--limit", "2", "--zero", "a1.h0"),
    "train-sae": ("--task", "addition", "--hook", "blocks.0.hook_mlp_out", "--out", "sae"),
    "train-transcoder": ("--task", "addition", "--layer", "0", "--out", "transcoder"),
    "catalog list": (),
    "catalog search": (),
    "catalog show": ("induction-2l/induction/acdc",),
    "catalog diff": ("induction-2l/induction/acdc", "ioi/ioi/acdc"),
    "catalog add": ("given/circuit", "--catalog", "new"),
    "catalog verify": ("induction-2l/induction/acdc",),
    "catalog remove": ("induction-2l/induction/acdc", "--catalog", "new"),
    "catalog compare": ("given", "--within", "--draws", "19"),
    "pairs check": ("given/pairs.jsonl", "--model", "induction-2l"),
    "catalog export": ("given/circuit", "--out", "new.csv"),
    "catalog import": ("given/edges.csv", "--model", "induction-2l", "--task", "induction"),
}
# Where any word is one, such as an expression of pytest's, which says itself what it makes of it.
_FREE = {
    *(("test", "-k"), ("test", "--for-pytest")),
    *(("catalog search", "--model"), ("catalog search", "--task")),  # patterns
    *(("catalog add", "--catalog"), ("catalog remove", "--catalog")),  # made if they are not there
}
CONTRADICTIONS = (
    "discover induction --resume --overwrite --out new",
    "discover induction --threshold 1 --thresholds 1,2",
    "discover induction --thresholds 1,x",
    "discover induction --thresholds ,",
    "discover induction --n-edges 3",
    "discover induction --algorithm eap --threshold 1 --n-edges 3",
    "discover induction --algorithm eap --steps 3",
    "discover induction --data given/pairs.jsonl",
    "discover induction --task induction --task ioi",
    "discover induction --set steps",
    "discover induction --set steps=",
    "discover induction --set =5",
    "discover induction --task-set n_words",
    "discover induction --heads a9.h9",
    "discover induction --without a9.h9",
    "discover induction --chat",
    "discover --data given/pairs.jsonl --model induction-2l --task-set operators=plus",
    "discover induction --shard 1",
    "discover induction --shard 2 --coordinator here:1",
    "discover induction --coordinator here:1 --n-processes 2 --process-id 0",
    "evaluate given/circuit --all --measures truth",
    "evaluate given/circuit --measures truth,zzz",
    "evaluate given/circuit --truth zzz",
    "evaluate given/circuit --task induction --data given/pairs.jsonl",
    "evaluate given/circuit --curve-out curve.txt",
    "render given/circuit --out picture.jpg",
    "render given/circuit --view zzz",
    "render given/circuit --hide-below 2",
    "render given/circuit --view matrix --most-arrows 5",
    "view given/circuit --no-open --out page.pdf",
    "view given/circuit given/circuit given/circuit --no-open",
    "view given/circuit --catalog given --no-open",
    "view --no-open",
    "hypothesize given/circuit --out mine.txt",
    "zzz",
    "scrub given/by_hand.py --draw tree.jpg",
    "leaderboard --task zzz",
    "leaderboard --task induction --workers 2 --scheduler tcp://127.0.0.1:1",
    "sweep --task induction --algorithm edge-pruning --thresholds 1",
    "sweep --task induction --model ioi",
    "sweep --task induction --seeds 1,1",
    "sweep --task induction --workers 2 --scheduler tcp://127.0.0.1:1",
)
_REMEDIES = re.compile(
    r"must|[Cc]hoose|[Gg]ive|[Kk]nown|[Tt]ry\b|[Dd]id you mean|at least|at most|not a valid|"
    r"[Ll]eave|add|[Uu]se |expected|needs|[Nn]ame |\b--\w|[Ss]ave|positive|[Ff]rom \S+ to"
)
SETTINGS = {"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
_HYPOTHESIS = """
from circuitgraph.hypotheses import Hypothesis
H = Hypothesis("by hand", task="induction", model="induction-2l")
H.expect("accuracy", at_least=0.95)
"""
_DICTIONARY = """{"architecture": "standard", "d_in": 8, "d_sae": 16, "dtype": "float32",
"apply_b_dec_to_input": true, "normalize_activations": "none",
"metadata": {"hook_name": "blocks.0.hook_mlp_out"}}"""
_PAIR = '{"clean": "dog chair moon dog", "corrupted": "dog chair moon moon", "answer": " chair"}\n'


@dataclass(frozen=True)
class Line:
    """A command line, and what its refusal must name one of."""

    words: tuple[str, ...]
    shown: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(repr(word) if len(word) < 60 else f"{word[:20]}..." for word in self.words)


def list_lines(command: str | None = None) -> list[Line]:
    """All lines, or those of one command, in a fixed order."""
    lines = [Line(tuple(text.split()), ("",)) for text in CONTRADICTIONS]
    for name, parameters in _iterate_commands():
        arguments = [each for each in parameters if each.param_type_name == "argument"]
        for parameter in parameters:
            place = arguments.index(parameter) if parameter in arguments else 0
            lines += _list_bad_values(name, parameter, place)
        base = (*name.split(), *BASES[name])
        lines.append(Line((*base, "--zzz"), ("--zzz",)))
        lines.append(Line((*base, "more", "words"), ("more",)))
    return [line for line in lines if command is None or line.words[0] == command.split()[0]]


def _iterate_commands() -> Iterator[tuple[str, list[Any]]]:
    import typer

    from circuitgraph.cli.main import app

    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    for name, command in commands.items():
        for inner, it in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), it.params


def _list_bad_values(name: str, parameter: Any, place: int) -> Iterator[Line]:
    """Lines with one option, or the argument at a place, that makes no sense."""
    command, base = tuple(name.split()), BASES[name]
    values = _choose_values(parameter)
    if parameter.param_type_name == "argument":
        before, after = base[:place], base[place + 1 :]
        yield from (Line((*command, *before, value, *after), (value,)) for value in values)
        return
    option = parameter.opts[0]
    if (name, option) in _FREE:
        return
    if getattr(parameter, "is_flag", False):
        yield Line((*command, *base, f"{option}=x"), (option,))
        return
    yield Line((*command, *base, option), (option,))
    rest = base if option not in base else _drop_option(base, option)
    if option == "--data":
        rest = ("--model", "induction-2l") if name == "discover" else rest
    for value in values:
        words = (f"{option}={value}",) if option.startswith("--") else (option, value)
        yield Line((*command, *rest, *words), (*filter(None, _list_names(option, value)),))


def _list_names(option: str, value: str) -> tuple[str, ...]:
    """What a refusal may name: the value, as a number too, or the option or setting."""
    number = "inf" if value == "1e400" else ""
    return value, number, option, option.lstrip("-").replace("-", "_")


def _choose_values(parameter: Any) -> tuple[str, ...]:
    option = parameter.opts[0]
    if option in _WRITTEN:
        ending = _WRITTEN[option]
        return (f"given/pairs.jsonl/it{ending}", f"{LONG}{ending}", "")
    annotation = str(parameter.type_descriptor.annotation)
    kind = next((k for k in ("int", "float", "Path", "str") if k in annotation), "str")
    return _BY_TYPE[kind]


def _drop_option(words: tuple[str, ...], option: str) -> tuple[str, ...]:
    place = words.index(option)
    return words[:place] + words[place + 2 :]


def write_given(folder: Path) -> None:
    """What the commands are given."""
    folder.mkdir()
    source = ROOT / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
    shutil.copytree(source, folder / "circuit")
    (folder / "by_hand.py").write_text(_HYPOTHESIS)
    (folder / "pairs.jsonl").write_text(_PAIR)
    (folder / "edges.csv").write_text("edge\nembed->logits\n")
    sizes = {"W_enc": (8, 16), "W_dec": (16, 8), "b_enc": (16,), "b_dec": (8,)}
    (folder / "sae").mkdir()
    save_file(
        {name: np.ones(size, np.float32) for name, size in sizes.items()},
        folder / "sae" / "sae_weights.safetensors",
    )
    (folder / "sae" / "cfg.json").write_text(_DICTIONARY)


def find_problem(line: Line, run: Run) -> str | None:
    """What is wrong with how a line is refused; None if nothing is.

    Args:
        run: from words to something with ``code``, ``out`` and ``err``.
    """
    start = time.monotonic()
    try:
        ran = run(*line.words)
    except BaseException as error:  # whatever comes is a traceback for the user
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} at {where.filename}:{where.lineno}"
    if ran.code != 2:
        return f"status {ran.code}: {(ran.err or ran.out)[:300]!r}"
    if time.monotonic() - start > SECONDS:
        return f"{time.monotonic() - start:.0f} s"
    plain = ran.err.replace("\n", "").replace("\t", "")
    shown = [word[:50].encode("unicode_escape").decode() for word in line.shown]
    if line.words[0] == "test":  # pytest writes what becomes of each claim on stdout
        ran = Ran(ran.code, "", ran.err + ran.out)
    problems = {
        "a traceback": "Traceback" in ran.err,
        "letters that cannot be printed": not plain.isprintable(),
        "too long": len(ran.err) > 8_000,
        "it does not name what was given": not any(word in ran.err for word in shown),
        "it does not say what to do": _REMEDIES.search(ran.err) is None,
        "something on stdout": bool(ran.out),
    }
    wrong = [name for name, holds in problems.items() if holds]
    return f"{', '.join(wrong)}: {ran.err[:300]!r}" if wrong else None


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def run_words(*words: str) -> Ran:
    """Run a command in this process."""
    from circuitgraph.cli.main import main as run_command

    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["circuitgraph", *words])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), argv:
        try:
            run_command()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Ran(code, out.getvalue(), err.getvalue())


def main() -> int:
    """Try the lines and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--command", choices=sorted({name.split()[0] for name in BASES}))
    options = parser.parse_args()
    lines = list_lines(options.command)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, SETTINGS):
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.chdir(folder)
        write_given(Path("given"))
        for line in lines:
            problem = find_problem(line, run_words)
            if problem is not None:
                problems.append(f"{line}: {problem}")
                print(problems[-1], file=sys.stderr, flush=True)
        os.chdir(ROOT)
    print(f"| lines | refused clearly | otherwise |\n|--:|--:|--:|\n| {len(lines)} | ", end="")
    print(f"{len(lines) - len(problems)} | {len(problems)} |")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
