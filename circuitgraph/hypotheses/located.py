"""Where in a user's file something went wrong."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from circuitgraph.hypotheses.language import Where


def shown(where: Where) -> str:
    """``file:line``, the file relative to the working directory if it lies inside."""
    path = Path(where.file)
    with suppress(ValueError, OSError):  # elsewhere, or a working directory that is gone
        path = path.relative_to(Path.cwd())
    return f"{path}:{where.line}"


def innermost(error: BaseException, file: str) -> Where | None:
    """The last line of that file that an error passed through; None if it never was there."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [
        frame.lineno for frame in frames if frame.filename == file and frame.lineno is not None
    ]
    return Where(file, lines[-1]) if lines else None


def said(error: BaseException) -> str:
    """The error's kind and message, as Python prints them."""
    return "".join(traceback.format_exception_only(error)).strip()
