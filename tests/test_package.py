"""The package as a whole: what importing it costs, its names, registries and messages."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import circuitgraph
from circuitgraph import errors
from circuitgraph.errors import ArgumentError, CircuitGraphError, UnknownNameError
from circuitgraph.registry import Registry

HEAVY = ["jax", "jaxlib", "equinox", "torch", "transformers"]


@pytest.mark.parametrize(
    "light",
    [
        "import circuitgraph",
        "import circuitgraph; dir(circuitgraph); circuitgraph.Graph(2, 2).to_networkx(); "
        "circuitgraph.Circuit",
        "from circuitgraph import CircuitGraphError, load_circuit, save_circuit, render",
        "import circuitgraph.registry, circuitgraph.graph.reach, circuitgraph.catalog.records",
        "import circuitgraph.jobs.setup",
    ],
)
def test_the_light_half_loads_no_array_library(light: str) -> None:
    code = f"{light}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("name", circuitgraph.__all__)
def test_every_public_name_is_what_its_module_calls_by_that_name(name: str) -> None:
    found = getattr(circuitgraph, name)
    assert callable(found)
    assert found.__name__ == name
    assert found.__module__.startswith("circuitgraph.")
    assert found is getattr(importlib.import_module(found.__module__), name)
    assert found.__doc__, "a public name says what it is for"


def test_dir_lists_the_public_names_and_the_version() -> None:
    assert dir(circuitgraph) == sorted([*circuitgraph.__all__, "__version__"])
    assert len(set(circuitgraph.__all__)) == len(circuitgraph.__all__)


def test_unknown_attributes_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'circuitgraph' has no attribute 'discoverr'"):
        _ = circuitgraph.discoverr
    assert not hasattr(circuitgraph, "no_such_name")
    with pytest.raises(ImportError, match="cannot import name 'no_such_name'"):
        importlib.import_module("builtins").exec("from circuitgraph import no_such_name")


def test_every_error_has_a_common_base_and_a_docstring() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, CircuitGraphError)
        assert kind.__doc__


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on disk whose files note that they were imported."""
    folder = tmp_path / "room_of_things"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from circuitgraph.registry import Registry\nseen = []\nthings = Registry('thing', "
        "__name__)\n"
    )
    for name in ("chair", "table"):
        (folder / f"{name}.py").write_text(
            f"from room_of_things import seen, things\nseen.append('{name}')\n"
            f"@things.register('{name}')\ndef make(): return '{name}'\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("", ".chair", ".table"):
        monkeypatch.delitem(sys.modules, f"room_of_things{name}", raising=False)
    return "room_of_things"


def test_registries_import_their_room_at_the_first_question(room: str) -> None:
    module = importlib.import_module(room)
    assert module.seen == []
    assert "chair" in module.things
    assert module.seen == ["chair", "table"]
    assert module.things.names() == ["chair", "table"]
    assert module.things["table"]() == "table"
    assert "lamp" not in module.things
    assert module.seen == ["chair", "table"], "files are imported once"


def test_registries_suggest_the_nearest_name(room: str) -> None:
    things = importlib.import_module(room).things
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'tabel'\. Did you mean 'table'\?"):
        things["tabel"]
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'xyz'\. Known: chair, table"):
        things["xyz"]


def test_a_name_is_registered_once() -> None:
    registry: Registry[object] = Registry("thing", "circuitgraph.graph")
    entry = registry.register("one")(object())
    assert registry.add("one", entry) is entry, "the same entry again is no conflict"
    with pytest.raises(ValueError, match="thing 'one' is registered twice"):
        registry.add("one", object())
    assert registry["one"] is entry
    assert registry.names() == ["one"]


@pytest.mark.parametrize(
    ("given_name", "known", "message"),
    [
        ("metrc", ["metric", "task"], "Unknown word 'metrc'. Did you mean 'metric'?"),
        ("aab", ["aab1", "aab23", "zzz"], "Unknown word 'aab'. Did you mean 'aab1' or 'aab23'?"),
        ("q", ["metric", "task"], "Unknown word 'q'. Known: metric, task."),
        ("q", [], "Unknown word 'q'. No word is available."),
        (
            "q",
            [f"word{i:02}" for i in range(13)],
            "Unknown word 'q'. There are 13, from 'word00' to 'word12'.",
        ),
    ],
)
def test_unknown_names_are_answered_with_what_there_is(
    given_name: str, known: list[str], message: str
) -> None:
    error = errors.unknown_name("word", given_name, iter(known))
    assert isinstance(error, LookupError)
    assert str(error) == message
    hinted = errors.unknown_name("word", given_name, known, "Look there.")
    assert str(hinted) == f"{message} Look there."


@pytest.mark.parametrize(("n", "lines"), [(1, 2), (20, 21), (21, 22), (57, 22)])
def test_lists_of_problems_are_cut_and_counted(n: int, lines: int) -> None:
    message = errors.list_problems("Wrong:", [f"problem {i}" for i in range(n)])
    assert message.startswith("Wrong:\n  - problem 0")
    assert len(message.splitlines()) == lines
    assert message.endswith(f"... and {n - 20} more" if n > 20 else f"  - problem {n - 1}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(value: float) -> None:
    with pytest.raises(ArgumentError, match=f"threshold is {value}, but must be a finite number"):
        errors.check_finite("threshold", value)
    assert errors.check_finite("threshold", -2.5) == -2.5


def test_values_below_a_minimum_are_refused_by_name() -> None:
    with pytest.raises(ArgumentError, match=r"n_prompts is 0, but must be at least 1\."):
        errors.check_at_least("n_prompts", 0, 1)
    assert errors.check_at_least("n_prompts", 1, 1) == 1


def test_users_see_the_types() -> None:
    """PEP 561: type checkers read annotations of an installed package only beside this file."""
    assert (Path(circuitgraph.__file__).parent / "py.typed").is_file()
