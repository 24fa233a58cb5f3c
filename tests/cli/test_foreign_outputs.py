"""Outputs that would hit files of others are refused before a model is loaded; nothing changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

COMMANDS = {
    "journal": (("discover", "constructed:histogram", "-o", "x"), "x.journal.jsonl"),
    "journal, overwrite": (
        ("discover", "constructed:histogram", "-o", "x", "--overwrite"),
        "x.journal.jsonl",
    ),
    "journal, resume": (
        ("discover", "constructed:histogram", "-o", "x", "--resume"),
        "x.journal.jsonl",
    ),
    "folder": (("discover", "induction", "-o", "x", "--overwrite"), "x"),
    "markdown": (("leaderboard", "--markdown", "thesis.md"), "thesis.md"),
    "curve": (("evaluate", "mine", "--measures", "curve", "--curve-out", "c.csv"), "c.csv"),
    "picture": (("render", "mine", "-o", "poster.dot"), "poster.dot"),
    "hypothesis": (("hypothesize", "mine", "-o", "thesis.py", "--force"), "thesis.py"),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("is_link", [True, False])
@pytest.mark.parametrize("case", COMMANDS)
def test_what_others_wrote_is_refused_first_and_kept(
    run: Callable[..., Ran], finished: tuple[Path, Ran], case: str, is_link: bool
) -> None:
    command, name = COMMANDS[case]
    shutil.copytree(finished[0], "mine")
    victim = Path("victim")
    if is_link:
        victim.write_text("years of work")
        Path(name).symlink_to(victim)
    else:
        victim = Path(name)
        victim.write_text("years of work")
    before = files_below(Path())
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert f"{name!r}" in ran.err
    assert ("symbolic link" in ran.err) or not is_link or "--overwrite" not in command, ran.err
    assert victim.read_text() == "years of work"
    assert files_below(Path()) == before


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("leaderboard", "--markdown", "file/a.md"), "file/a.md"),
        (("leaderboard", "--out", "file"), "file/cell.json"),
        (("evaluate", "mine", "--curve-out", "file/c.csv"), "file/c.csv"),
        (("hypothesize", "mine", "-o", "file/h.py"), "file/h.py"),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_hours_of_work(
    run: Callable[..., Ran], finished: tuple[Path, Ran], command: tuple[str, ...], name: str
) -> None:
    shutil.copytree(finished[0], "mine")
    Path("file").write_text("")
    before = files_below(Path())
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert f"{name!r} cannot be written" in ran.err
    assert files_below(Path()) == before
