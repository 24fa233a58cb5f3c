"""The installed command in processes of its own: how it starts, what it loads, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import circuitgraph
from tests.cli.conftest import Ran

HEAVY = ("jax", "torch", "transformers", "equinox")


def python(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import circuitgraph; dir(circuitgraph)",
        "import sys; sys.argv = ['circuitgraph', '--help']; from circuitgraph.cli.main import "
        "main; main()",
        "import sys; sys.argv = ['circuitgraph', 'discover', '--help']; from "
        "circuitgraph.cli.main import main; main()",
        "from circuitgraph import Circuit, Graph, save_circuit, load_circuit, render",
    ],
)
def test_light_start_loads_neither_jax_nor_torch(code: str) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print('LOADED', *{HEAVY} & sys.modules.keys()))"  # noqa: E501
    report = report.replace(str(HEAVY), f"set({HEAVY})")
    ended = python("-c", f"{report}\n{code}")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "LOADED"


def test_bad_input_ends_with_2_and_one_message(tmp_path: Path) -> None:
    ended = python(
        "-m", "circuitgraph.cli.main", "discover", "inductoin", "--out", str(tmp_path / "run")
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    meant = "'induction' or 'constructed:induction' or 'ioi'"
    assert ended.stderr == f"Error: Unknown task 'inductoin'. Did you mean {meant}?\n"
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_nothing_is_kept_and_nothing_is_said(tmp_path: Path) -> None:
    args = (
        "-m",
        "circuitgraph.cli.main",
        "discover",
        "induction",
        "--dry-run",
        "--json",
        "--limit",
        "2",
    )
    ended = python(*args, HOME="/proc/nowhere", XDG_CACHE_HOME="")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["prompts"] == 2


def test_version(run: Callable[..., Ran]) -> None:
    assert run("--version") == Ran(0, f"circuitgraph {circuitgraph.__version__}\n", "")


def test_every_public_name_exists() -> None:
    assert [name for name in circuitgraph.__all__ if not hasattr(circuitgraph, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'dicsover'"):
        _ = circuitgraph.dicsover


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", {"induction-2l"}),
        ("tasks", {"induction"}),
        (
            "metrics",
            {"kl", "logit", "logit_difference", "log_probability", "probability", "cross_entropy"},
        ),
        ("metrics", {"accuracy", "rank", "reciprocal_rank"}),
        ("algorithms", {"acdc"}),
        ("analyses", {"logit-lens"}),
        ("ablations", {"resample", "zero", "mean", "mean-positional"}),
    ],
)
def test_list(run: Callable[..., Ran], kind: str, names: set[str]) -> None:
    ran = run("list", kind, "--json")
    assert (ran.code, ran.err) == (0, "")
    rows = json.loads(ran.out)
    assert {row["name"] for row in rows} >= names
    assert [row for row in rows if not row["description"]] == []
    shown = run("list", kind).out
    assert [row["name"] for row in rows if row["name"] not in shown] == []
    assert run("list", kind, "--quiet") == Ran(0, "", "")
