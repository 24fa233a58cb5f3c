"""The commands of the catalog, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.catalog.store import Catalog
from tests.cli.conftest import Ran

SHIPPED = Path(__file__).parents[2] / "catalog" / "circuits"
RUN = SHIPPED / "induction-2l" / "induction" / "acdc"
NAME = "induction-2l/induction/acdc"
Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def no_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIRCUITGRAPH_CATALOG", raising=False)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    Catalog(tmp_path / "mine").add(RUN)
    return tmp_path / "mine"


def test_the_shipped_circuits_are_listed_in_eighty_columns(run: Run) -> None:
    ran = run("catalog", "list")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) >= 25
    assert max(map(len, lines)) <= 80
    assert "induction-2l/induction/acdc" in ran.out
    content = json.loads(run("catalog", "list", "--json").out)
    assert content["problems"] == {}
    assert len(content["entries"]) == len(lines) - 1
    assert run("catalog", "list", "--quiet") == Ran(0, "", "")


def test_a_damaged_entry_is_skipped_and_told(run: Run, mine: Path) -> None:
    run("catalog", "add", SHIPPED / "ioi" / "ioi" / "acdc", "--catalog", mine)
    (mine / NAME / "circuit.json").write_text("{")
    ran = run("catalog", "list", "--catalog", mine)
    assert ran.code == 0
    assert "ioi/ioi/acdc" in ran.out
    assert f"Skipped: Entry '{NAME}': it cannot be read as JSON" in ran.err


def test_a_listing_loads_no_array_library() -> None:
    code = (
        "import sys; sys.argv = ['circuitgraph', 'catalog', 'list', '--quiet']\n"
        "from circuitgraph.cli.main import main\n"
        "main()\n"
        "print({'numpy', 'networkx', 'jax', 'torch', 'fsspec'} & set(sys.modules))"
    )
    code = code.replace("main()\n", "try: main()\nexcept SystemExit: pass\n", 1)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("set()\n", "")


def test_show_tells_what_is_known(run: Run) -> None:
    ran = run("catalog", "show", "ioi/ioi/acdc")
    assert ran.code == 0
    for phrase in ("9 of 193", "acdc (", "random circuits", "stability", "a2.h2->logits", "Limits"):
        assert phrase in ran.out
    content = json.loads(run("catalog", "show", "ioi/ioi/acdc", "--json").out)
    assert len(content["record"]["edges"]) == 9
    assert content["judgement"]["stability"]["n_discoveries"] == 5
    assert content["evidence"] == []


def test_unknown_entries_are_answered_with_near_names(run: Run) -> None:
    ran = run("catalog", "show", "ioi/ioi/acdcc")
    assert ran.code == 2
    assert "Did you mean 'ioi/ioi/acdc'" in ran.err


def test_search(run: Run) -> None:
    ran = run("catalog", "search", "--task", "induction", "--size", ":10", "--score", "0.9:")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["entry", NAME]
    assert run("catalog", "search", "--model", "zzz").out == "No entry is like that.\n"


def test_diff_ends_with_1_where_edges_differ(run: Run) -> None:
    a, b = "smollm2-135m-q4_1/capitals/acdc", "smollm2-135m-q4_1/capitals/acdc-0.43"
    ran = run("catalog", "diff", a, b, "--json")
    content = json.loads(ran.out)
    edges = [{e["edge"] for e in json.loads((SHIPPED / n / "circuit.json").read_text())["edges"]}
             for n in (a, b)]  # fmt: skip
    assert ran.code == 1
    assert set(content["shared"]) == edges[0] & edges[1]
    assert set(content["removed"]) == edges[0] - edges[1]
    assert set(content["added"]) == edges[1] - edges[0]
    assert content["edge_overlap"] == len(edges[0] & edges[1]) / len(edges[0] | edges[1])
    assert set(content["effects"]) == set(content["shared"])
    assert content["correlation"] > 0.9
    assert run("catalog", "diff", NAME, RUN).code == 0
    shown = run("catalog", "diff", a, b)
    assert shown.code == 1
    assert shown.out.count("\n- ") == 21
    assert "Correlation of all 46: 0." in shown.out


def test_add_and_remove(run: Run, tmp_path: Path) -> None:
    added = run("catalog", "add", RUN, "--catalog", "mine", "--name", "my/own/one", "--json")
    assert (added.code, json.loads(added.out)) == (0, {"entry": "my/own/one", "catalog": "mine"})
    assert (tmp_path / "mine" / "my" / "own" / "one" / "circuit.dot").is_file()
    again = run("catalog", "add", RUN, "--catalog", "mine", "--name", "my/own/one")
    assert again.code == 2
    assert "There is an entry 'my/own/one'" in again.err
    assert run("catalog", "remove", "my/own/one", "--catalog", "mine").code == 0
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (("add", RUN), "Name the catalog to write to"),
        (("add", "nowhere", "--catalog", "mine"), "There is no run at 'nowhere'"),
        (("add", RUN, "--catalog", "mine", "--name", "../x/y"), "is no name of an entry"),
        (("add", RUN, "--catalog", "mine", "--overwrite"), "--overwrite replaces the entry"),
        (("add", RUN, "--catalog", "memory://x"), "is a URL, which is only read"),
        (("add", RUN, "--catalog", "x" * 5000), "File name too long"),
        (("remove", NAME, "--catalog", "x" * 5000), "File name too long"),
        (("list", "--catalog", "nowhere"), "There is no catalog at 'nowhere'"),
        (("search", "--size", "many"), "--size is 'many'"),
        (("search", "--node", "zzz"), "'zzz' is not the name of a node"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, tmp_path: Path, arguments: tuple[object, ...], phrase: str
) -> None:
    ran = run("catalog", *arguments)
    assert ran.code == 2
    assert phrase in ran.err
    assert list(tmp_path.iterdir()) == []
