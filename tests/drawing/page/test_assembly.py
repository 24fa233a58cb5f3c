"""How a page is put together: modules in scopes of their own, data that cannot end its element."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from circuitgraph.drawing.marks import is_marked
from circuitgraph.drawing.page import assembly
from circuitgraph.drawing.page.assembly import bundle_modules, save_page, write_data
from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.errors import ArgumentError, OutputError
from circuitgraph.graph.graph import Graph
from tests.drawing.page.circuits import HOSTILE, draw_entry

ROOM = Path(assembly.__file__).parent


def find_script(page: str) -> str:
    return page.rsplit("<script>", 1)[1].split("</script>", 1)[0]


def test_data_is_the_same_when_read_and_holds_no_markup() -> None:
    text = write_data({"texts": HOSTILE, "number": 1.5, "none": None})
    assert "<" not in text
    assert "\n" not in text
    back = json.loads(text)
    assert back["texts"][0] == HOSTILE[0]
    assert back["texts"][6] == r"\x1b[31mred\x07\x00"
    assert (back["number"], back["none"]) == (1.5, None)


def test_a_number_that_json_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_data({"x": float("nan")})


def test_each_module_comes_once_and_after_those_it_imports() -> None:
    script = bundle_modules("main")
    order = re.findall(r"^const \$(\w+) = \(\(\) => \{$", script, re.MULTILINE)
    assert len(order) == len(set(order))
    assert order[-1] == "main"
    for name in order:
        text = (ROOM / "assets" / f"{name}.js").read_text()
        for imported in re.findall(r'from "\./(\w+)\.js"', text):
            assert order.index(imported) < order.index(name)
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)


def test_every_asset_is_small_and_used() -> None:
    used = {
        f"{name}.js"
        for main in ("main", "catalog")
        for name in re.findall(r"\$(\w+) = \(", bundle_modules(main))
    }
    used |= {"worker.js"}
    assets = {path.name: len(path.read_text().splitlines()) for path in (ROOM / "assets").iterdir()}
    assert {name for name in assets if name.endswith(".js")} == used
    assert max(assets.values()) <= 250


def test_policy_allows_this_script_and_no_network() -> None:
    page = make_circuit_page([draw_entry(Graph(1, 2), 5)]).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = policy[1].replace("&#x27;", "'")
    digest = base64.b64encode(hashlib.sha256(find_script(page).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}' 'wasm-unsafe-eval'" in rules
    assert "default-src 'none'" in rules
    assert not re.search(r"https?:|\*|unsafe-inline|'self'", rules)
    assert not re.search(r'(?:src|href)="(?!data:,")', page.split("<body>")[0])


def test_page_is_the_same_each_time_and_ours() -> None:
    page = make_circuit_page([draw_entry(Graph(1, 2), 5)])
    assert page == make_circuit_page([draw_entry(Graph(1, 2), 5)])
    assert is_marked(page)


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("mine")
    with pytest.raises(OutputError, match="not written by circuitgraph"):
        save_page(file, b"x")
    assert file.read_text() == "mine"


def test_circuits_of_different_graphs_are_not_compared() -> None:
    entries = [draw_entry(Graph(1, 2), 5), draw_entry(Graph(2, 2), 5)]
    with pytest.raises(ArgumentError, match="different graphs"):
        make_circuit_page(entries)
    with pytest.raises(ArgumentError, match="one circuit or two, not 3"):
        make_circuit_page([entries[0]] * 3)


def test_graphviz_in_the_page_is_the_file_that_is_recorded() -> None:
    about = json.loads((ROOM / "vendor" / "viz.json").read_text())
    content = (ROOM / "vendor" / "viz.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == about["sha256"]
    assert f"Viz.js {about['version']}".encode() in content[:100]
    assert b"</script" not in content
    assert b"<!--" not in content
    assert "Permission is hereby granted" in (ROOM / "vendor" / "LICENSE.txt").read_text()
