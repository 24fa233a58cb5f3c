"""How a model is loaded: the same options in every command, in configs and in records."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import circuitgraph as cg
from circuitgraph.catalog.files import load_record
from circuitgraph.cli.options import LoadingOptions, gather_loading
from circuitgraph.errors import ArgumentError
from tests.cli.conftest import Ran
from tests.models.dictionaries import writers
from tests.models.dictionaries.oracle import draw_weights

HYPOTHESIS = Path(__file__).resolve().parents[2] / "hypotheses" / "induction.py"
GIVEN = ("--dtype", "bfloat16", "--revision", "v1", "--model-config", "c.json", "--local-only")
KEYWORDS = {
    "dtype": "bfloat16",
    "revision": "v1",
    "config": "c.json",
    "local_only": True,
    "trust_remote_code": True,
}
COMMANDS = {
    "compile": ("compile", "induction-2l"),
    "dictionary": ("dictionary", "DICTIONARY", "--task", "induction"),
    "discover": ("discover", "induction"),
    "dry run": ("discover", "induction", "--dry-run"),
    "evaluate": ("evaluate", "CIRCUIT"),
    "hypothesize": ("hypothesize", "CIRCUIT", "--out", "mine.py"),
    "interchange": ("interchange", str(HYPOTHESIS)),
    "leaderboard": ("leaderboard", "--task", "induction"),
    "pairs": ("pairs", "check", "pairs.jsonl", "--model", "induction-2l"),
    "scrub": ("scrub", str(HYPOTHESIS)),
    "train-sae": (
        "train-sae",
        "--task",
        "induction",
        "--hook",
        "blocks.1.hook_attn_out",
        "-o",
        "x",
    ),
    "test": ("test", str(HYPOTHESIS), "-k", "program"),
}


class Loaded(Exception):  # noqa: N818 (an end, not an error)
    """Raised in place of loading."""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The keywords of every call of `load_model`, which loads nothing."""
    calls: list[dict[str, Any]] = []

    def note(name: str, **given: Any) -> None:
        calls.append({key: str(v) if isinstance(v, Path) else v for key, v in given.items()})
        raise Loaded

    places = [f"circuitgraph.{name}" for name in ("hypotheses.study",)]
    # a module that is imported only after the first patch would keep `note` for ever
    modules = [importlib.import_module(name) for name in (*places, "circuitgraph.models.loading")]
    for module in modules:
        monkeypatch.setattr(module, "load_model", note)
    return calls


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_hands_them_to_load_model(
    run: Callable[..., Ran], finished: tuple[Path, Ran], loads: list[dict[str, Any]], name: str
) -> None:
    Path("pairs.jsonl").write_text('{"clean": "a b", "corrupted": "a c", "answer": "a"}\n')
    dictionary = writers.saelens("standard")(Path("sae"), draw_weights())
    places = {"CIRCUIT": str(finished[0]), "DICTIONARY": str(dictionary)}
    command = [places.get(word, word) for word in COMMANDS[name]]
    with suppress(Loaded):
        run(*command, *GIVEN, "--trust-remote-code")
    assert loads == [KEYWORDS]


def test_a_config_file_has_them(run: Callable[..., Ran], loads: list[dict[str, Any]]) -> None:
    Path("run.toml").write_text(
        'dtype = "bfloat16"\nrevision = "v1"\nmodel-config = "c.json"\nlocal-only = true\n'
        "trust-remote-code = true\n"
    )
    with pytest.raises(Loaded):
        run("discover", "induction", "--config", "run.toml")
    assert loads == [KEYWORDS]
    Path("run.toml").write_text("dtype = 16")
    assert "dtype = 16: expected a text in quotes" in run("discover", "--config", "run.toml").err


RECORD = {
    "environment": {"precision": "bfloat16"},
    "model": {"name": "m", "revision": "abc", "options": {"config": {"n_layers": 2}}},
}


@pytest.mark.parametrize(
    ("given", "is_own", "keywords"),
    [
        ({}, True, {"dtype": "bfloat16", "revision": "abc", "config": {"n_layers": 2}}),
        ({}, False, {"dtype": "bfloat16"}),
        (
            {"dtype": "float32", "revision": "main"},
            True,
            {"dtype": "float32", "revision": "main", "config": {"n_layers": 2}},
        ),
    ],
)
def test_what_a_record_says_counts_where_nothing_is_given(
    given: dict[str, Any], is_own: bool, keywords: dict[str, Any]
) -> None:
    loading = LoadingOptions(**given)
    assert gather_loading(loading, RECORD, is_own=is_own, path=Path("x")) == keywords


def test_a_record_is_no_leave_to_run_code() -> None:
    record = {"model": {"name": "m", "revision": None, "options": {"trust_remote_code": True}}}
    where = {"is_own": True, "path": Path("x")}
    with pytest.raises(ArgumentError, match="add --trust-remote-code"):
        gather_loading(LoadingOptions(), record, **where)
    loading = LoadingOptions(trust_remote_code=True)
    assert gather_loading(loading, record, **where) == {"trust_remote_code": True}


def test_a_circuit_is_judged_in_the_precision_of_its_search(run: Callable[..., Ran]) -> None:
    ran = run("discover", "induction", "--limit", 6, "--dtype", "bfloat16", "--threshold", 0.5)
    assert ran.code == 0, ran.err
    record = load_record("runs/induction")
    assert record.environment is not None
    assert record.environment.precision == "bfloat16"
    judged = run("evaluate", "runs/induction", "--json", "--limit", 12, "--measures", "curve")
    assert judged.code == 0, judged.err
    other = run(
        *("evaluate", "runs/induction", "--json", "--limit", 12, "--measures", "curve"),
        *("--dtype", "float32"),
    )
    assert other.code == 0, other.err  # the weights are others, but were asked for
    full = [json.loads(ran.out)["full"]["mean"] for ran in (judged, other)]
    assert full[0] != full[1]


def test_a_model_remembers_how_it_was_loaded() -> None:
    from circuitgraph.tasks.describing import describe_model

    assert describe_model(cg.load_model("induction-2l")).options == {}
    told = cg.load_model("induction-2l", trust_remote_code=True)
    assert describe_model(told).options == {"trust_remote_code": True}


def test_a_circuit_of_double_precision_has_its_model_loaded_in_it(
    finished: tuple[Path, Ran], tmp_path: Path
) -> None:
    """In a process of its own, as jax decides once; the record comes before jax is imported.

    The weights are loaded, in double precision; they are not those of the search in single.
    """
    folder = shutil.copytree(finished[0], tmp_path / "run")
    content = json.loads((folder / "circuit.json").read_text())
    content["environment"]["precision"] = "float64"
    (folder / "circuit.json").write_text(json.dumps(content))
    env = {key: value for key, value in os.environ.items() if key != "JAX_ENABLE_X64"}
    command = [sys.executable, "-m", "circuitgraph", "evaluate", "run", "--limit", "2", "-q"]
    done = subprocess.run(
        [*command, "--measures", "curve"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "The weights of 'induction-2l' changed" in done.stderr
