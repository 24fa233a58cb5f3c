"""``circuitgraph view``: the page it writes, where it writes it, and what is refused."""

from __future__ import annotations

import json
import re
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuitgraph.catalog.files import save_circuit
from circuitgraph.graph.graph import Graph
from tests.cli.conftest import Ran
from tests.drawing.page.circuits import draw_circuit

CATALOG = Path(__file__).resolve().parents[2] / "catalog" / "circuits"


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to open."""
    addresses: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(addresses.append(url)) or True)
    return addresses


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return save_circuit(draw_circuit(Graph(2, 2), 15, 0), tmp_path / "mine")


def read_data(page: Path) -> dict[str, Any]:
    match = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    return json.loads(match[1])


def test_page_lies_beside_the_circuit_and_is_opened(
    run: Callable[..., Ran], stored: Path, opened: list[str]
) -> None:
    page = stored / "circuit.html"
    assert run("view", stored) == Ran(0, f"{page}\n", "")
    assert opened == [page.as_uri()]
    assert len(read_data(page)["edges"]) == 15
    assert run("view", stored / "circuit.json", "--no-open", "--json").out == (
        f'{{"page": "{page}"}}\n'
    )
    assert len(opened) == 1


def test_without_a_screen_nothing_is_opened(
    run: Callable[..., Ran], stored: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    ran = run("view", stored)
    assert (ran.code, ran.err) == (0, "No browser could be opened here: open the file yourself.\n")
    assert opened == []


def test_two_are_compared_and_render_writes_the_same_page(
    run: Callable[..., Ran], stored: Path, tmp_path: Path
) -> None:
    other = save_circuit(draw_circuit(Graph(2, 2), 15, 1), tmp_path / "other")
    assert run("view", stored, other, "--no-open", "--quiet") == Ran(0, "", "")
    kept = [edge["kept"] for edge in read_data(tmp_path / "comparison.html")["edges"]]
    assert [sum(one) for one in zip(*kept, strict=True)] == [15, 15]
    assert run("render", stored, "-o", "a.html").out == "a.html\n"
    assert run("view", stored, "-o", "b.html", "--no-open").code == 0
    edges = [read_data(tmp_path / name)["edges"] for name in ("a.html", "b.html")]
    assert edges[0] == edges[1]


def test_judgement_beside_a_shipped_circuit_is_told(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    entry = CATALOG / "induction-2l" / "induction" / "acdc"
    assert run("view", entry, "-o", tmp_path / "a.html", "--no-open").code == 0
    data = read_data(tmp_path / "a.html")
    facts = dict(data["circuits"][0]["facts"])
    assert facts["model"] == "induction-2l"
    assert facts["edges"] == "5 of 257"
    shares = {name for edge in data["edges"] for name, _ in edge["facts"] if "searches" in name}
    assert len(shares) == 1, "how often each edge is found again"


def test_catalog_of_a_folder(run: Callable[..., Ran], stored: Path, tmp_path: Path) -> None:
    assert run("view", "--catalog", tmp_path, "--no-open") == Ran(0, "catalog.html\n", "")
    assert [entry["path"] for entry in read_data(tmp_path / "catalog.html")["entries"]] == ["mine"]
    for words, message in (
        ((stored,), "leave out"),
        (("--run-model",), "leave out --run-model"),
        (("--reading", "a.json"), "leave out --reading"),
    ):
        ran = run("view", "--catalog", tmp_path, *words, "--no-open")
        assert (ran.code, message in ran.err) == (2, True)
    ran = run("view", "--catalog", stored / "none", "--no-open")
    assert (ran.code, "There is no folder" in ran.err) == (2, True)


def test_the_model_is_read_where_it_is_asked_for(run: Callable[..., Ran], tmp_path: Path) -> None:
    entry = CATALOG / "induction-2l" / "induction" / "acdc"
    assert run("view", entry, "--run-model", "-o", "a.html", "--no-open").code == 0
    data = read_data(tmp_path / "a.html")
    types = {node["name"]: node["type"] for node in data["nodes"]}
    assert types["a1.h6"] == "induction"
    head = next(node for node in data["nodes"] if node["name"] == "a1.h6")
    assert [reading["kind"] for reading in head["readings"]] == ["table", "grid", "table"]
    assert all(len(edge["readings"][0]["rows"]) == 12 for edge in data["edges"])


def test_records_of_other_kinds_are_refused(run: Callable[..., Ran], stored: Path) -> None:
    for option in ("--reading", "--scrub"):
        ran = run("view", stored, option, stored / "circuit.json", "--no-open")
        assert ran.code == 2
        assert "is not what `circuitgraph" in ran.err
    ran = run("view", stored, stored, stored, "--no-open")
    assert (ran.code, "two to compare" in ran.err) == (2, True)
    ran = run("view", stored, "-o", "page.pdf", "--no-open")
    assert (ran.code, "'page.pdf'" in ran.err) == (2, True)
