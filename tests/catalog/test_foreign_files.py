"""Nothing of others is opened for writing, followed, replaced or removed; leftovers of killed runs
are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from circuitgraph.catalog.files import load_circuit, save_circuit
from circuitgraph.catalog.folders import check_new_folder, new_folder
from circuitgraph.catalog.leftovers import name_old, name_temporary
from circuitgraph.catalog.single_files import check_file, write_file
from circuitgraph.drawing.dot import render
from circuitgraph.errors import OutputError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.graph import Graph

MINE = "years of work"
CIRCUIT = Circuit.random(Graph(1, 2), 5, np.random.default_rng(0))


def is_ours(content: bytes) -> bool:
    return content.startswith(b"ours")


# Single files


def make_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def make_dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nowhere"))


def make_foreign(path: Path, victim: Path) -> None:
    del victim
    path.write_text(MINE)


def make_pipe(path: Path, victim: Path) -> None:
    del victim
    os.mkfifo(path)


@pytest.mark.parametrize("obstacle", [make_link, make_dangling_link, make_foreign, make_pipe])
@pytest.mark.parametrize("write", [check_file, partial(write_file, content=b"new")])
def test_a_file_of_others_is_left_as_it_is(
    tmp_path: Path, obstacle: Callable[[Path, Path], None], write: Callable[..., None]
) -> None:
    """By the look before hours of work as well as by the writing."""
    victim, path = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"ours, but of another name")
    obstacle(path, victim)
    before = sorted(os.listdir(tmp_path)), os.lstat(path), victim.read_bytes()
    with pytest.raises(OutputError, match=r"[Cc]hoose another"):
        write(path, is_own=is_ours)
    after = sorted(os.listdir(tmp_path)), os.lstat(path), victim.read_bytes()
    assert [*after[0], after[1].st_ino, after[1].st_size, after[2]] == [
        *before[0],
        before[1].st_ino,
        before[1].st_size,
        before[2],
    ]


def test_our_own_file_is_replaced_and_a_new_one_made(tmp_path: Path) -> None:
    for path in (tmp_path / "deep" / "down" / "new", tmp_path / "old"):
        if path.name == "old":
            path.write_bytes(b"ours, old")
        check_file(path, is_own=is_ours)
        write_file(path, b"ours, new", is_own=is_ours)
        assert path.read_bytes() == b"ours, new"
        assert os.listdir(path.parent) in ([path.name], ["deep", path.name], [path.name, "deep"])


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    check_file(tmp_path / "deep" / "new", is_own=is_ours)
    assert os.listdir(tmp_path) == []


def test_pictures_of_ours_are_drawn_again_and_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.dot"
    render(CIRCUIT, path)
    render(CIRCUIT, path, "again")
    assert "again" in path.read_text()
    path.write_text("digraph mine {}")
    with pytest.raises(OutputError, match=r"a\.dot' exists already and was not written by"):
        render(CIRCUIT, path)
    assert path.read_text() == "digraph mine {}"


# Folders


def test_a_folder_behind_a_link_is_not_overwritten(tmp_path: Path) -> None:
    real = save_circuit(CIRCUIT, tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("link", "lost"):
        with pytest.raises(OutputError, match="is a symbolic link, which is not followed"):
            save_circuit(Circuit.empty(Graph(1, 1)), tmp_path / name, overwrite=True)
    assert load_circuit(real) == CIRCUIT
    assert sorted(os.listdir(tmp_path)) == ["link", "lost", "real"]


@pytest.mark.parametrize("name", ["circuit.json", "curve.csv", "circuit.svg"])
def test_files_of_others_with_names_of_ours_are_not_overwritten(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text(MINE)
    with pytest.raises(OutputError, match="that circuitgraph wrote, and is not overwritten"):
        save_circuit(CIRCUIT, folder, overwrite=True)
    assert (folder / name).read_text() == MINE


def test_a_link_among_the_results_is_not_ours(tmp_path: Path) -> None:
    folder = save_circuit(CIRCUIT, tmp_path / "run")
    (tmp_path / "poster.svg").write_text(MINE)
    (folder / "circuit.svg").symlink_to(tmp_path / "poster.svg")
    with pytest.raises(OutputError, match=r"other things than a circuit \(circuit\.svg\)"):
        save_circuit(CIRCUIT, folder, overwrite=True)
    with pytest.raises(OutputError, match="symbolic link"):
        write_file(folder / "circuit.svg", b"", is_own=lambda _: True)
    assert (tmp_path / "poster.svg").read_text() == MINE


def test_what_comes_into_a_folder_while_the_new_one_is_written_is_kept(tmp_path: Path) -> None:
    folder = save_circuit(CIRCUIT, tmp_path / "run")
    with pytest.raises(OutputError, match="other things"), new_folder(folder, overwrite=True):
        (folder / "notes.md").write_text(MINE)
    assert (folder / "notes.md").read_text() == MINE
    assert os.listdir(tmp_path) == ["run"]


# What killed runs leave

KILLED = """
import os, signal, sys
from pathlib import Path
from circuitgraph.catalog.folders import new_folder
from circuitgraph.catalog.leftovers import make_file, name_temporary
folder = Path(sys.argv[1])
with new_folder(folder) as inside, make_file(name_temporary(inside / "circuit.dot")):
    (inside / "circuit.json").write_text("half")
    print(flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
    os._exit(0)
"""


def run_half(folder: Path, end: str) -> subprocess.Popen[bytes]:
    """A process that is within the writing of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_the_next_run_removes_what_a_killed_one_left_and_not_what_a_living_one_writes(
    tmp_path: Path,
) -> None:
    with run_half(tmp_path / "run", "killed") as killed:
        killed.communicate()
    left = os.listdir(tmp_path)
    assert len(left) == 2, "a folder and its lock"
    with run_half(tmp_path / "run", "lives") as living:
        leftovers = os.listdir(tmp_path)
        assert len(leftovers) == 2, "the second run has removed what the first one left"
        assert not {*left} & {*leftovers}
        check_new_folder(tmp_path / "run")
        check_new_folder(tmp_path / "other")
        assert os.listdir(tmp_path) == leftovers
        living.communicate()
    save_circuit(CIRCUIT, tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("left", ["", "-lock"])
def test_what_was_left_a_moment_ago_is_removed_at_once(tmp_path: Path, left: str) -> None:
    """A run may be killed before its folder has anything in it, or after the folder's end."""
    name = f"{name_temporary(tmp_path / 'run').name}{left}"
    (tmp_path / name).touch() if left else (tmp_path / name).mkdir()
    save_circuit(CIRCUIT, tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


def test_a_result_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    folder = save_circuit(CIRCUIT, tmp_path / "run")
    folder.rename(name_old(name_temporary(folder)))
    with pytest.raises(OutputError, match="exists already"):
        check_new_folder(folder)
    assert load_circuit(folder) == CIRCUIT
    assert os.listdir(tmp_path) == ["run"]


def test_a_replaced_result_goes_and_names_that_are_only_similar_stay(tmp_path: Path) -> None:
    folder = save_circuit(CIRCUIT, tmp_path / "run")
    save_circuit(CIRCUIT, name_old(name_temporary(folder)))
    similar = [".run.circuitgraph-mine", ".run2.circuitgraph-00000000", ".run-00000000", "run.old"]
    for name in similar:
        save_circuit(CIRCUIT, tmp_path / name)
    foreign = name_temporary(folder)
    foreign.mkdir()
    (foreign / "thesis.tex").write_text(MINE)
    os.utime(foreign, (0, 0))
    link = name_temporary(folder)
    link.symlink_to(tmp_path / "run2")
    save_circuit(CIRCUIT, folder, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == sorted([*similar, "run", foreign.name, link.name])
