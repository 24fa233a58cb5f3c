"""Programs run as a user runs them: in a process of their own, without type checks, compiled with
all optimisations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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
