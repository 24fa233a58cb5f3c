"""Run the blocks of pages, as a reader would who follows them: ``python -m tests.docs.run_pages``.

All pages in one process, without the checks of types that tests have, so that it takes seconds.
Each page has a folder of its own below the one it is called in. Ends with status 1 if a block does.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

from circuitgraph.cli.main import main as run_command
from tests.docs.blocks import ROOT, Block, read_blocks, split_words


def run_page(page: Path, folder: Path, catalog: Path) -> list[str]:
    """Run a page's blocks in their order; its Python blocks share their names.

    Args:
        catalog: a copy, since a command may write beside a circuit.

    Returns:
        What went wrong in the first block that did not run; nothing if all did.
    """
    folder.mkdir()
    os.chdir(folder)
    (folder / "catalog").symlink_to(catalog)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in read_blocks(page):
        try:
            run_block(block, names)
        except BaseException:
            return [f"{block} does not run:\n{traceback.format_exc()}"]
    return []


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run one block, unless a comment says otherwise."""
    if block.kind == "file":
        Path(block.note).write_text(block.text, encoding="utf-8")
    if block.kind:
        return
    if block.language == "python":
        exec(compile(block.text, str(block), "exec"), names)  # noqa: S102
    for words in (words for command in block.commands for words in split_words(command)):
        if words[0] != "circuitgraph":
            raise ValueError(f"Say in a comment before the block why {words[0]!r} is not run.")
        run_line(words)


def run_line(words: list[str]) -> None:
    """Run a command in this process; raises what it printed if it does not end with status 0."""
    printed, status = io.StringIO(), 0
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.object(sys, "argv", words),
    ):
        try:
            run_command()
        except SystemExit as ended:
            status = ended.code
    if status not in (0, None):
        raise RuntimeError(f"{words} ended with {status}: {printed.getvalue()[-2000:]}")


def main() -> int:
    """Run the pages whose paths are given."""
    here, problems = Path.cwd(), []
    catalog = shutil.copytree(ROOT / "catalog", here / f"catalog-{os.getpid()}")
    for page in map(Path, sys.argv[1:]):
        name = "-".join(page.relative_to(ROOT).with_suffix("").parts)
        problems += run_page(page, here / name, catalog)
    sys.stderr.write("\n".join(problems))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
