"""Programs run as a user runs them: in a process of their own, without type checks, compiled with
all optimisations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """Ours, but for what makes tests compile faster."""
    ours = {"XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def python(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS``, with everything that it printed."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


def circuitgraph(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``circuitgraph ARGUMENTS``."""
    return python("-m", "circuitgraph.cli.main", *arguments, cwd=cwd)


class Sitting:
    """Commands that follow one another in one folder, in one process: started once, and what the
    first ones have imported and compiled is there for the next.
    """

    def __init__(self, folder: Path) -> None:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            cwd=folder,
            env=environment() | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Sitting:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def circuitgraph(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """``circuitgraph ARGUMENTS``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = list(map(str, arguments))
        print(json.dumps(words), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process ended in {words}"
        return subprocess.CompletedProcess(words, *json.loads(answer))
