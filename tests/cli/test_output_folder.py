"""Where results go: folders that are taken, cannot be written or run full, and nothing half-written
in any of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from circuitgraph.graph.circuit import Circuit
from tests.cli.conftest import Ran, files_below

FILES = {"circuit.json", "circuit.dot", "scores.safetensors"}
QUICK = ("discover", "induction", "--limit", 6)

pytestmark = pytest.mark.usefixtures("canned")


def test_existing_folder_is_kept(
    run: Callable[..., Ran], tmp_path: Path, finished: tuple[Path, Ran]
) -> None:
    shutil.copytree(finished[0], tmp_path / "mine")
    before = (tmp_path / "mine" / "circuit.json").read_bytes()
    ran = run(*QUICK, "--out", "mine", "--threshold", 30)
    assert (ran.code, ran.out) == (2, "")
    assert "'mine' exists already" in ran.err
    assert "--overwrite" in ran.err
    assert (tmp_path / "mine" / "circuit.json").read_bytes() == before


def test_overwrite_replaces_a_circuit(
    run: Callable[..., Ran], tmp_path: Path, finished: tuple[Path, Ran]
) -> None:
    shutil.copytree(finished[0], tmp_path / "mine")
    (tmp_path / "mine" / "circuit.json").write_text('{"schema_version": 1, "an": "older one"}')
    ran = run(*QUICK, "--out", "mine", "--overwrite", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert (tmp_path / "mine" / "circuit.json").read_bytes() == (
        finished[0] / "circuit.json"
    ).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


def test_overwrite_spares_what_is_not_a_circuit(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "circuit.json").write_text("{}")
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    ran = run(*QUICK, "--out", "mine", "--overwrite")
    assert ran.code == 2
    assert "'mine' holds other things than a circuit (thesis.tex)" in ran.err
    assert files_below(tmp_path) == {"mine", "mine/circuit.json", "mine/thesis.tex"}


def test_failed_overwrite_keeps_the_old_circuit(
    run: Callable[..., Ran],
    tmp_path: Path,
    finished: tuple[Path, Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished[0], tmp_path / "mine")
    before = files_below(tmp_path), (tmp_path / "mine" / "circuit.json").read_bytes()
    fill_disk(monkeypatch, "circuit.dot")
    assert run(*QUICK, "--out", "mine", "--overwrite").code == 2
    assert (files_below(tmp_path), (tmp_path / "mine" / "circuit.json").read_bytes()) == before


@pytest.mark.parametrize(
    "out", ["file/run", "file/deep/run", "/proc/run", "/dev/null/run", "x" * 300]
)
def test_folder_that_cannot_be_made_is_refused_before_a_model_is_loaded(
    run: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def fail(name: str) -> None:
        raise AssertionError("a model was loaded before the folder was tried")

    monkeypatch.setattr("circuitgraph.models.loading.load_model", fail)
    (tmp_path / "file").write_text("")
    ran = run("discover", "induction", "--out", out)
    assert (ran.code, ran.out) == (2, "")
    assert f"{out!r}" in ran.err
    assert "Choose another folder" in ran.err
    assert files_below(tmp_path) == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(run: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    ran = run(*QUICK, "--out", "locked/run")
    assert ran.code == 2
    assert "Permission denied" in ran.err


def fill_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Writing a file whose name contains ``name`` fails after its first bytes: a full disk."""
    from circuitgraph.catalog import files, single_files

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real_text, real_save, real_make = Path.write_text, files.save_file, single_files.make_file

    def text(path: Path, data: str, *args: str, **options: str) -> int:
        if name in path.name:
            real_text(path, data[:10])
            raise full
        return real_text(path, data, *args, **options)

    @contextlib.contextmanager
    def make(path: Path) -> Iterator[int]:
        with real_make(path) as descriptor:
            if name in path.name:
                os.write(descriptor, b"half")
                raise full
            yield descriptor

    def save(arrays: object, path: Path, **options: object) -> None:
        if name in path.name:
            path.write_bytes(b"half")
            raise files.SafetensorError("I/O error: No space left on device (os error 28)")
        real_save(arrays, path, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Path, "write_text", text)
    monkeypatch.setattr(single_files, "make_file", make)
    monkeypatch.setattr(files, "save_file", save)


@pytest.mark.parametrize(
    "name", ["circuit.json", "scores.safetensors", "circuit.dot", "circuit.svg"]
)
@pytest.mark.parametrize("out", [(), ("--out", "deep/down/run")])
def test_full_disk_leaves_nothing(
    run: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    out: tuple[str, ...],
) -> None:
    if name == "circuit.svg" and shutil.which("dot") is None:
        pytest.skip("without Graphviz there is no SVG to write")
    fill_disk(monkeypatch, name)
    ran = run(*QUICK, *out)
    assert (ran.code, ran.out) == (2, "")
    assert "Nothing was written" in ran.err
    assert "No space left on device" in ran.err
    assert "/." not in ran.err, "the message names the temporary folder"
    assert files_below(tmp_path) == set()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_search_that_is_stopped_leaves_nothing(
    run: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    def stopped(*args: object, **options: object) -> Circuit:
        raise stop

    monkeypatch.setattr("circuitgraph.jobs.discover.find_circuit", stopped)
    if stop is RuntimeError:
        with pytest.raises(RuntimeError):
            run(*QUICK)
    else:
        assert run(*QUICK).code != 0
    assert files_below(tmp_path) == set()


def test_default_folder_is_the_first_free_one(run: Callable[..., Ran], tmp_path: Path) -> None:
    for _ in range(2):
        assert run(*QUICK, "--quiet").code == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"induction", "induction-2"}
    assert {path.name for path in (tmp_path / "runs" / "induction-2").iterdir()} >= FILES


def test_results_can_be_read_by_others(finished: tuple[Path, Ran]) -> None:
    assert len({path.stat().st_mode for path in finished[0].iterdir()}) == 1


def test_brackets_in_a_name_are_printed_as_they_are(
    run: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = run(*QUICK, "--out", "[bold]{where}:smile:")
    assert ran.code == 0
    assert "Written to [bold]{where}:smile:/" in ran.out
    assert (tmp_path / "[bold]{where}:smile:" / "circuit.json").is_file()
