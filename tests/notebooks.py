"""Notebooks of the docs, run as a reader runs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
_SECONDS = 900  # of one cell: the machine may be busy


class Run(NamedTuple):
    """What came of a notebook: what its cells show, by their first lines, and named results."""

    shown: dict[str, list[NotebookNode]]
    results: Any

    def html(self, cell: str) -> str:
        """What the cell that begins so shows at its end."""
        [outputs] = [shown for line, shown in self.shown.items() if line.startswith(cell)]
        return outputs[-1].data["text/html"]

    def text(self, cell: str) -> str:
        """What the cell that begins so prints."""
        [outputs] = [shown for line, shown in self.shown.items() if line.startswith(cell)]
        return "".join(one.text for one in outputs if one.output_type == "stream")


def run_notebook(name: str, folder: Path, results: str, env: Mapping[str, str]) -> Run:
    """Execute all cells in that folder; raises what a cell raises.

    Args:
        results: an expression of JSON values, evaluated after the last cell.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    last = nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({results}))")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [*notebook.cells, last]
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    places = {"PYTHONPATH": str(FOLDER.parents[1]), "PATH": path}
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**env, **places})
    shown = {cell.source: cell.outputs for cell in cells}
    return Run(shown, json.loads(notebook.cells[-1].outputs[0].text))


def list_warnings(run: Run) -> list[str]:
    """What cells said on standard error, but for bars."""
    texts = [
        output.text
        for outputs in run.shown.values()
        for output in outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    return [text for text in texts if text.strip() and not text.startswith("\r")]
