"""The page in a real browser: what it draws, hides, says and saves."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from circuitgraph.catalog.analysis_record import (
    HeatmapRecord,
    Reading,
    TableRecord,
    TextRecord,
    TextsRecord,
)
from circuitgraph.catalog.files import save_circuit
from circuitgraph.drawing.page.catalog_page import make_catalog_page
from circuitgraph.drawing.page.circuit_page import make_circuit_page
from circuitgraph.drawing.page.entry import make_entry
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph
from tests.drawing.page.circuits import HOSTILE, draw_circuit, draw_entry
from tests.drawing.page.conftest import Page
from tests.drawing.page.test_data import make_scrub

SHOWN = (
    "[...document.querySelectorAll('.edges [data-bundle]')].filter(e => e.style.display !== 'none')"
)
KEPT = "$main.app.data.edges.filter(e => $main.app.state.kept[e.index]).map(e => e.name)"
INDUCTION = ["embed->a0.h1<v>", "a0.h1->a1.h0<k>", "embed->a1.h0<q>", "a1.h0->logits"]


def make_induction() -> Circuit:
    graph = Graph(2, 2, mlp=False)
    mask = Circuit.of(graph, [*INDUCTION, "embed->a1.h1<q>"]).mask
    effects = {edge: 4.0 - number for number, edge in enumerate(INDUCTION)}
    scores = np.array([effects.get(edge, -0.5) for edge in graph.edges])
    return Circuit(graph, mask, scores)


def choose_node(page: Any, name: str) -> None:
    page.run(
        "const {actions, data} = $main.app;"
        "actions.choose({shape: data.nodes.find(n => n.name === arguments[0]).shape})",
        name,
    )


def type_text(page: Any, text: str) -> None:
    page.run(
        "const s = document.getElementById('search'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input'))",
        text,
    )


def set_threshold(page: Any, value: float) -> None:
    page.run("$main.app.state.threshold = arguments[0]; $main.app.state.tell('edges')", value)


def test_graphviz_lays_out_what_lies_on_a_path_and_nothing_is_refused(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "two layers")]))
    assert page.text("#status") == ""
    assert page.text("h1") == "two layers"
    assert sorted(page.run(f"return {KEPT}")) == sorted(INDUCTION)
    assert page.run(f"return {SHOWN}.length") == 4
    assert page.text("#counts") == "4 of 5 edges, 4 nodes; 1 on no path"
    page.click("#dangling")
    page.wait_for(f"{SHOWN}.length === 5")
    assert page.log() == []


@pytest.mark.parametrize(
    "graph",
    [Graph(3, 2), Graph(2, 2, direct=True), Graph(2, 4, n_kv_heads=2, coupled=True)],
    ids=["plain", "direct", "grouped"],
)
def test_slider_leaves_the_edges_that_pruning_in_python_leaves(
    open_page: Any, graph: Graph
) -> None:
    graph = graph.refine("m0", neurons=[3, 5]) if not graph.direct else graph
    circuit = draw_circuit(graph, int(0.6 * graph.n_edges), 1)
    assert circuit.scores is not None
    page = open_page(make_circuit_page([make_entry(circuit, "random")]))
    for threshold in (0.0, 0.2, 0.5, 1.0, 9.0):
        set_threshold(page, threshold)
        strong = circuit.mask & Circuit.above(graph, circuit.scores, threshold).mask
        assert sorted(page.run(f"return {KEPT}")) == sorted(Circuit(graph, strong).pruned().edges)


def test_slider_prunes_live_and_lays_out_on_release(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    layouts = page.run("return $main.app.layouts")
    page.run(
        "const s = document.getElementById('threshold'); s.value = s.max; "
        "s.dispatchEvent(new Event('input'))"
    )
    page.wait_for("$main.app.state.threshold === 1")  # beyond it no path would be left
    assert page.text("#counts") == "4 of 5 edges, 4 nodes"
    assert page.run("return $main.app.layouts") == layouts
    page.run("document.getElementById('threshold').dispatchEvent(new Event('change'))")
    page.wait_for(f"$main.app.layouts > {layouts}")


def test_a_node_tells_its_edges_and_an_edge_its_effect(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    choose_node(page, "a1.h0")
    assert "Edges in (2)" in page.text("#panel")
    assert "embed->a1.h0<q>" in page.text("#panel")
    rows = "[...document.querySelectorAll('.edge-row')]"
    page.run(f"{rows}.find(b => b.textContent.startsWith('a0.h1->a1.h0<k>')).click()")
    assert page.text("#panel h2") == "a0.h1->a1.h0<k>"
    assert page.text("#panel dd") == "3"
    assert page.run("return document.querySelectorAll('.edge.chosen').length") == 1
    page.press("#picture", "Escape")
    assert page.text("#panel h2") == "Circuit"


def test_search_understands_names_of_papers(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    for text in ("L1H0", "1.0", "A1.H0"):
        type_text(page, text)
        assert page.text("#matches button") == "a1.h0"
    page.press("#search", "Enter")
    assert page.text("#panel h2") == "a1.h0"


def test_arrows_go_along_edges_and_rows(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    focus = "document.activeElement.querySelector('.name')?.textContent"
    page.press("#picture", "ArrowUp")
    assert page.run(f"return {focus}") == "embed"
    walked = []
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"):
        page.run(
            "document.activeElement.dispatchEvent(new KeyboardEvent('keydown',"
            "{key: arguments[0], bubbles: true, cancelable: true}))",
            key,
        )
        walked.append(page.run(f"return {focus}"))
    assert walked == ["a0.h1", "a1.h0", "logits", "a1.h0", "a0.h1"]


def test_a_click_chooses_and_a_drag_pins(open_page: Any) -> None:
    from selenium.webdriver import ActionChains

    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    find = page.driver.find_element
    node = find("css selector", "[aria-label^='a1.h0'] .box")
    ActionChains(page.driver).move_to_element(node).click().perform()
    assert page.text("#panel h2") == "a1.h0"
    assert page.run("return document.querySelectorAll('.edge.near').length") == 3
    before = page.run("return [...$main.app.drawing.positions.values()].map(p => p.x)")
    ActionChains(page.driver).drag_and_drop_by_offset(node, 60, 0).perform()
    after = page.run("return [...$main.app.drawing.positions.values()].map(p => p.x)")
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert page.run("return [...$main.app.state.pinned.keys()].length") == 1
    page.run(
        "document.querySelector('[data-bundle]').dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true}))"
    )
    assert page.text("#hint").startswith(("embed->", "a0.h1->", "a1.h0->"))
    background = find("id", "picture")
    ActionChains(page.driver).move_to_element_with_offset(background, -300, 0).click().perform()
    assert page.text("#panel h2") == "Circuit"


def test_nodes_are_hidden_pinned_and_grouped(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    shape = "$main.app.data.nodes.find(n => n.name === '{}').shape"
    page.run(f"$main.app.actions.hide({shape.format('a0.h1')})")
    assert sorted(page.run(f"return {KEPT}")) == ["a1.h0->logits", "embed->a1.h0<q>"]
    page.click("#show-hidden")
    page.run(f"$main.app.actions.pin({shape.format('a0.h1')})")
    set_threshold(page, 99)
    visible = "[...document.querySelectorAll('.node')].filter(n => n.style.display !== 'none')"
    assert page.run(f"return {visible}.map(n => n.querySelector('.name').textContent)") == ["a0.h1"]
    set_threshold(page, 0)
    for name in ("a0.h1", "a1.h0"):
        page.run(f"$main.app.actions.mark({shape.format(name)})")
    page.run("document.getElementById('group-name').value = 'both <b>'")
    page.click("#group")
    names = f"{visible}.map(n => n.querySelector('.name').textContent).sort().join()"
    page.wait_for(f"{names} === 'both <b>,embed,logits'")
    assert "Edges in (2)" in page.text("#panel")


def test_two_circuits_are_told_apart(open_page: Any) -> None:
    first = make_induction()
    second = first.without(["embed->a1.h0<q>"]) | Circuit.of(first.graph, ["embed->logits"])
    page = open_page(make_circuit_page([make_entry(first, "a"), make_entry(second, "b")]))
    statuses = dict(page.run("return $main.app.data.edges.map(e => [e.name, e.status])"))
    assert statuses == {**dict.fromkeys(first.edges, 0), "embed->a1.h0<q>": 1, "embed->logits": 2}
    assert "0.667 of all edges are shared" in page.text(".comparison")
    page.run("document.querySelectorAll('#statuses input')[2].click()")
    assert "embed->logits" not in page.run(f"return {KEPT}")


def make_hostile_reading() -> Reading:
    table = TableRecord(
        title=HOSTILE[0], columns=["head", *HOSTILE], rows=[["a1.h0", *HOSTILE], ["L0H1", *HOSTILE]]
    )
    grid = HeatmapRecord(
        title=f"pattern of a1.h0 {HOSTILE[1]}",
        unit=HOSTILE[2],
        row_axis="query",
        column_axis="key",
        row_labels=HOSTILE,
        column_labels=HOSTILE,
        values=np.eye(len(HOSTILE)).tolist(),
    )
    text = TextRecord(tokens=HOSTILE, values=[1.0, None, *[-1.0] * (len(HOSTILE) - 2)])
    return Reading(tables=[table], pictures=[grid, TextsRecord(title="t", unit="u", texts=[text])])


def test_texts_of_others_stay_texts(open_page: Any) -> None:
    entry = make_entry(make_induction(), HOSTILE[1])
    page = open_page(
        make_circuit_page(
            [entry], types={"a1.h0": HOSTILE[0]}, readings={HOSTILE[2]: make_hostile_reading()}
        )
    )
    assert page.text("h1") == HOSTILE[1]
    choose_node(page, "a1.h0")
    panel = page.text("#panel")
    for text in (
        *HOSTILE[:3],
        HOSTILE[5][0],
        HOSTILE[7],
        HOSTILE[8],
        "\u05d0\u05d1\u05d2",
        r"\x1b[31mred\x07\x00",
        r"two\nlines\r\u2028",
        r"\u202eright",
    ):
        assert text in panel
    assert page.run("return window.harm") is None
    markup = "'img, #panel script, #picture script'"
    assert page.run(f"return document.querySelectorAll({markup}).length") == 0
    svg = page.run("return $exporting.makeSvgText().text")
    assert HOSTILE[0][:28] in "".join(ElementTree.fromstring(svg).itertext())  # noqa: S314
    assert page.log() == []


def test_the_tree_of_a_scrub_leads_to_its_nodes(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")], scrub=make_scrub()))
    assert "alone 0.8" in page.text(".scrub")
    assert page.run("return document.querySelectorAll('.scrub ul ul li').length") == 2
    page.click(".scrub ul ul button")
    assert page.text("#panel h2") == "a1.h0"
    page.run(
        "const f = document.getElementById('fill'); f.value = 'role';"
        "f.dispatchEvent(new Event('change')); document.getElementById('overview').click()"
    )
    assert "induction head" in page.text(".legend")
    assert page.run("return document.querySelectorAll('.node[class*=category-]').length") == 3


def test_exports_hold_the_picture_without_the_page(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    root = ElementTree.fromstring(page.run("return $exporting.makeSvgText().text"))  # noqa: S314
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"embed", "a0.h1", "a1.h0", "logits"} <= set(texts)
    strokes = [path.get("stroke") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    assert "rgb(238, 102, 119)" in strokes  # the k of Paul Tol's palette
    assert "var(" not in ElementTree.tostring(root, encoding="unicode")
    data = page.driver.execute_async_script(
        "const done = arguments[0]; $exporting.makePng().then(blob => {const r = new FileReader();"
        "r.onload = () => done(r.result); r.readAsDataURL(blob)})"
    )
    assert base64.b64decode(data.split(",")[1]).startswith(b"\x89PNG")


def test_catalog_is_searched_and_sorted(open_page: Any, tmp_path: Path) -> None:
    names = ["b", "a & <img src=x onerror=window.harm=1>", "c"]
    for number, name in enumerate(names):
        save_circuit(draw_circuit(Graph(1, 2), 3 + number, number), tmp_path / "all" / name)
    (tmp_path / "all" / "c" / "circuit.html").write_text("")
    (tmp_path / "all" / "broken").mkdir()
    (tmp_path / "all" / "broken" / "circuit.json").write_text("{")
    content = make_catalog_page(tmp_path / "all", tmp_path / "page.html")
    page = open_page(content, is_circuit=False)
    paths = "return [...document.querySelectorAll('tr[data-path]')].map(row => row.dataset.path)"
    assert page.run(paths) == [names[1], "b", "c"]
    for _ in range(2):
        page.click("th[data-column='edges'] button")
    assert page.run(paths) == ["c", names[1], "b"]
    assert page.text("th[aria-sort='descending']") == "edges ▼"
    for _ in range(3):
        page.run(
            "[...document.querySelectorAll('td button')].filter(b => b.textContent === 'More')"
            "[0]?.click()"
        )
    assert page.run("return document.querySelector('a').getAttribute('href')") == (
        "./all/c/circuit.html"
    )
    assert f"circuitgraph view {tmp_path / 'all' / names[1]}" in page.text("#catalog")
    assert "cannot be read as JSON" in page.text("#catalog .note")
    type_text(page, "src=x")
    assert page.run(paths) == [names[1]]
    assert page.text("#status") == "1 of 3 circuits"
    assert page.run("return window.harm") is None
    assert page.log() == []


def test_light_and_dark(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.run(f"return {paper}") == "rgb(255, 255, 255)"
    page.click("#theme")
    assert page.run(f"return {paper}") == "rgb(22, 24, 29)"
    assert page.text("#theme") == "Light"


def test_every_control_has_a_name(open_page: Any) -> None:
    page = open_page(make_circuit_page([make_entry(make_induction(), "x")]))
    names = page.run(
        "return [...document.querySelectorAll('button, input, select, svg, aside, .node')].map("
        "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)"
    )
    assert len(names) > 25
    assert all(name.strip() for name in names)


def test_of_very_many_edges_the_strongest_are_shown_first(open_page: Any) -> None:
    circuit = draw_circuit(Graph(6, 8), 3600, 0)
    page = open_page(make_circuit_page([make_entry(circuit, "many")]))
    assert circuit.scores is not None
    strongest = Circuit.top(circuit.graph, circuit.scores * circuit.mask, 2500).pruned()
    assert len(page.run(f"return {KEPT}")) == len(strongest)
    assert 0 < page.run("return document.querySelectorAll('.edges path').length") <= len(strongest)
    page.run(
        "const s = document.getElementById('threshold'); s.value = 0;"
        "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change'))"
    )
    page.wait_for(f"{SHOWN}.length > 3400")


def test_nothing_is_fetched_and_nothing_could_be(open_page: Any) -> None:
    page = open_page(make_circuit_page([draw_entry(Graph(2, 2), 20)]))
    names = "performance.getEntriesByType('resource').map(e => e.name)"
    assert page.run(f"return {names}.filter(n => !/^(blob|data):/.test(n))") == []
    refused = page.driver.execute_async_script(
        "const done = arguments[0]; fetch('data:,x').then(() => done(false), () => done(true))"
    )
    assert refused
    assert any("Content Security Policy" in line for line in page.log())


def test_a_notebook_cell_without_graphviz_has_the_page_in_a_frame(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cell = make_induction()._repr_html_()
    assert cell is not None
    (tmp_path / "cell.html").write_text(f"<!doctype html><meta charset=utf-8>{cell}")
    driver.get((tmp_path / "cell.html").as_uri())
    driver.switch_to.frame(0)
    page = Page(driver)
    try:
        page.wait_for("document.documentElement.dataset.layouts")
        assert set(page.run(f"return {KEPT}")) >= set(INDUCTION)
        assert page.log() == []
    finally:
        driver.switch_to.default_content()
