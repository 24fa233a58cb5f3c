"""One search by two processes: the circuit of one process, which the first alone writes down."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from circuitgraph.cli.processes import ProcessOptions
from circuitgraph.errors import ArgumentError
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task

COMMAND = (
    *("discover", "--model", "induction-2l", "--data", "../pairs.jsonl", "--no-judging"),
    *("--metric", "logit_difference", "--threshold", "1", "--json"),
)


def write_pairs(path: Path) -> None:
    """Two of the task's pairs as a file."""
    pairs = load_task("induction", load_model("induction-2l")).prompts(2, "discovery").pairs
    names = ("clean", "corrupted", "answer", "distractor")
    lines = [json.dumps({name: getattr(pair, name) for name in names}) for pair in pairs]
    path.write_text("\n".join(lines))


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a folder of its own."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "circuitgraph", *COMMAND, *more],
        cwd=folder,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "TMPDIR": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_find_what_one_finds_and_the_first_alone_writes(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    several = ("--shard", "2", "--coordinator", address, "--n-processes", "2", "--process-id")
    running = [
        start(tmp_path / "alone"),
        *(start(tmp_path / number, *several, number) for number in "01"),
    ]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    alone, first = (json.loads(out) for out, _ in said[:2])
    assert alone["edges"]
    assert [edge["edge"] for edge in first["edges"]] == [edge["edge"] for edge in alone["edges"]]
    for ours, theirs in zip(first["edges"], alone["edges"], strict=True):
        assert ours["effect"] == pytest.approx(theirs["effect"], rel=1e-5)
    assert first["environment"] | {"devices": 1, "shards": None} == alone["environment"]
    assert (first["environment"]["devices"], first["environment"]["shards"]) == (2, 2)
    assert first["model"] == alone["model"]  # and the hash of weights that no process has
    assert said[2][0] == ""
    written = {n: sorted(f.name for f in (tmp_path / n).rglob("*") if f.is_file()) for n in "01"}
    assert "circuit.json" in written["0"]
    assert "journal.jsonl" in written["0"]
    assert written["1"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"process_id": None}, "need --process-id as well"),
        ({"coordinator": None}, "need --coordinator as well"),
        ({"n_processes": 1}, "--n-processes is 1"),
        ({"process_id": 2}, "--process-id is 2"),
        ({"coordinator": "here"}, "'here', but must be HOST:PORT"),
        ({"coordinator": "here:99999"}, "must be HOST:PORT"),
        ({"shard": None}, "give --shard"),
        ({"resume": True}, "--resume needs a journal"),
        ({"dry_run": True}, "--dry-run times steps"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, object], message: str) -> None:
    made = {"coordinator": "here:1", "n_processes": 2, "process_id": 1, **given}
    shard, resume, dry_run = (
        made.pop(n, d) for n, d in (("shard", 2), ("resume", False), ("dry_run", False))
    )
    with pytest.raises(ArgumentError, match=message):
        ProcessOptions(**made).check(shard, resume=resume, dry_run=dry_run)  # pyright: ignore
