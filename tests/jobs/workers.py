"""What processes of the tests do: plain functions of a module that a new process can import."""

from __future__ import annotations

import os
from pathlib import Path


def square(number: int) -> int:
    return number * number


def read_threads(number: int) -> list[str]:
    del number
    return [os.environ.get(name, "") for name in ("NPROC", "OMP_NUM_THREADS")]


def die_once(folder: str) -> int:
    """Die at the first try."""
    first = Path(folder) / "first"
    if not first.exists():
        first.touch()
        os._exit(9)
    return os.getpid()


def die(number: int) -> int:
    if number == 0:
        os._exit(9)
    return number


def fail(number: int) -> int:
    raise ValueError(f"no {number}")
