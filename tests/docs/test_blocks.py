"""Every block of code in the README and the pages is run, or says why not and is parsed."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from itertools import dropwhile
from pathlib import Path
from typing import Any

import pytest
import typer

import circuitgraph as cg
from circuitgraph.cli import completion
from circuitgraph.cli.main import app
from tests.docs.blocks import PAGES, ROOT, Block, read_blocks, split_words

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
NAMES = {  # what values of options and first arguments must be one of
    "--algorithm": completion.complete_algorithms,
    "--metric": completion.complete_metrics,
    "--ablation": completion.complete_ablations,
    "--task": completion.complete_tasks,
}
GROUP = typer.main.get_command(app)
COMMANDS: dict[str, Any] = vars(GROUP)["commands"]


def list_options(command: Any) -> set[str]:
    """The options of a command and of all commands in it."""
    inner = vars(command).get("commands", {}).values()
    own = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return own.union(*map(list_options, inner))


OPTIONS = list_options(GROUP)
OF_OTHERS = {"--kills", "--mib", "--nthreads"}  # options of our tools, and of dask


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_blocks_run(half: int, tmp_path: Path) -> None:
    """In two halves, which can be run side by side."""
    ours = {"COLUMNS": "100", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pages = list(map(str, PAGES[half::2]))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.docs.run_pages", *pages],
        cwd=tmp_path,
        env=os.environ | ours,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_blocks_can_be_parsed(page: Path) -> None:
    for block in read_blocks(page):
        for words in (w for command in block.commands for w in split_words(command)):
            check_words(words, block)
        if block.language == "python":
            check_python(block)
        elif block.language == "json":
            assert all(json.loads(line) for line in block.text.splitlines())
        elif block.language == "toml":
            tomllib.loads(block.text)


def check_words(words: list[str], block: Block) -> None:
    """A shell command names programs, files and options that there are."""
    words = words[: words.index(">")] if ">" in words else words
    program, *rest = dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words)
    program = program.removeprefix(".venv/bin/")
    if program == "circuitgraph":
        check_command(rest, block)
    elif program in {"python", "python3"} and rest[0] != "-m":
        assert (ROOT / rest[0]).is_file(), f"{block}: there is no {rest[0]}"
    else:
        others = {"python3", "pip", "pytest", ".", "mkdocs", "jupyter", "hf", "dask"}
        assert program in others, block
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = re.findall(r"(?:circuitgraph-interp|\.)\[(\w+)\]", " ".join(rest))
    assert set(named) <= set(extras), block


def check_command(words: list[str], block: Block) -> None:
    """A command takes these options and arguments; names of searches, ... are registered."""
    if words[0].startswith("-"):
        assert words[0] in {name for option in GROUP.params for name in option.opts}, block
        return
    command = COMMANDS[words[0]]
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    context = typer.Context(command, info_name=words[0])
    values, more, _ = command.make_parser(context).parse_args(list(rest))
    takes_more = words[0] == "test"  # its arguments are pytest's
    assert takes_more or not more, f"{block}: {more} are too many words for {words[0]}"
    for parameter in command.params:
        given = values.get(parameter.name)
        complete = NAMES.get(parameter.opts[0])
        for value in given if isinstance(given, list) else [given]:
            if complete is not None and isinstance(value, str):
                assert value in complete(value), f"{block}: {parameter.opts[0]} {value}"
    if words[0] == "analyze":
        assert words[1] in completion.complete_analyses(words[1]), f"{block}: {words[1]}"


def check_python(block: Block) -> None:
    """It is Python, and what it takes from circuitgraph is there."""
    if block.kind == "excerpt of":
        return
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("circuitgraph"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, name.name) for name in node.names), f"{block}: {node.module}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "cg" or hasattr(cg, node.attr), f"{block}: cg.{node.attr}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "run by"], ids=str)
def test_a_block_that_a_test_runs_is_in_the_hands_of_that_test(block: Block) -> None:
    file = ROOT / block.note
    assert file.is_file(), f"{block} names {block.note}, which is not there"
    text = file.read_text(encoding="utf-8")
    assert block.page.name in text, f"{block.note} does not read {block.page.name}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "not run"], ids=str)
def test_reasons_name_files_that_there_are(block: Block) -> None:
    files = re.findall(r"(?:tests|docs)/[\w./-]*\w", block.note)
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "excerpt of"], ids=str)
def test_excerpts_stand_in_their_files(block: Block) -> None:
    """Whatever the breaks of lines: pages are narrower."""
    flat = re.sub(r"[\s,]+", "", (ROOT / block.note).read_text(encoding="utf-8"))
    assert re.sub(r"[\s,]+", "", block.text) in flat


def test_blocks_that_run_are_many() -> None:
    """A change of how pages are read must not leave them unread."""
    run = [b for b in BLOCKS if not b.kind and (b.commands or b.language == "python")]
    assert len(run) >= 25
    assert sum(len(b.commands) for b in BLOCKS) >= 80


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_commands_and_options_in_the_text_are_there(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    commands = [words[1] for code in inline if (words := code.split())[0] == "circuitgraph" != code]
    assert set(commands) - {*COMMANDS, "COMMAND", "--log-level", "--help"} == set()
    options = {m[1] for code in inline if (m := re.match(r"(--[a-z][a-z-]+)", code))}
    assert options - OPTIONS - OF_OTHERS == set()
