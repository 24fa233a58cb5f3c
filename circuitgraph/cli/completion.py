"""What a shell offers where the name of a task, model, search, ... is being typed.

The names are read off the decorators in the source, without importing what they decorate: a key
press must not wait for jax.
"""

from __future__ import annotations

import re
from pathlib import Path

import circuitgraph
from circuitgraph.models.shipped import list_shipped

_PACKAGE = Path(circuitgraph.__file__).parent


def scan_names(room: str, decorator: str) -> list[str]:
    """The names that a decorator registers in the files of a room, sorted.

    Args:
        room: path of a folder below the package, or of one file.
    """
    pattern = re.compile(rf'^@{decorator}\(\s*"([^"]+)"', re.MULTILINE)
    place = _PACKAGE / room
    files = [place] if place.is_file() else place.glob("*.py")
    return sorted(
        name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))
    )


def complete_tasks(incomplete: str) -> list[str]:
    """Grammars and constructed programs."""
    return _choose(scan_names("tasks", "task") + _list_programs(), incomplete)


def complete_models(incomplete: str) -> list[str]:
    """Shipped models, constructed ones, and folders."""
    names = [*list_shipped("models", "config.json"), *_list_programs()]
    return _choose(names, incomplete) + _list_folders(incomplete)


def complete_dictionaries(incomplete: str) -> list[str]:
    """Shipped dictionaries, and folders."""
    names = [*list_shipped("dictionaries", "cfg.json")]
    return _choose(names, incomplete) + _list_folders(incomplete)


def complete_algorithms(incomplete: str) -> list[str]:
    """Searches."""
    return _choose(scan_names("discovery", "algorithm"), incomplete)


def complete_analyses(incomplete: str) -> list[str]:
    """Methods of ``circuitgraph analyze``."""
    return _choose(scan_names("analysis", "analysis"), incomplete)


def complete_metrics(incomplete: str) -> list[str]:
    """Metrics."""
    return _choose(scan_names("tasks", "metric"), incomplete)


def complete_ablations(incomplete: str) -> list[str]:
    """Ablations."""
    return _choose(scan_names("engine", "ablation"), incomplete)


def _list_programs() -> list[str]:
    programs = scan_names("models/constructed/named_programs.py", "named_program")
    return [f"constructed:{name}" for name in programs]


def _choose(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _list_folders(incomplete: str) -> list[str]:
    """Folders here that begin so; none where nothing is typed yet, as they may be many."""
    if not incomplete:
        return []
    parent, _, start = incomplete.rpartition("/")
    place = Path(parent or ("/" if incomplete.startswith("/") else "."))
    try:
        names = sorted(p.name for p in place.iterdir() if p.is_dir() and p.name.startswith(start))
    except OSError:
        return []
    return [f"{parent}/{name}" if "/" in incomplete else name for name in names]
