"""What comes with circuitgraph: beside the package in a clone, inside it where it is installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def list_shipped(kind: str, file: str) -> dict[str, Path]:
    """The folders that ship, by name.

    Args:
        kind: the folder of the catalog: ``models`` or ``dictionaries``.
        file: what each of them holds.
    """
    roots = [_PACKAGE / "_shipped" / kind, _PACKAGE.parent / "catalog" / kind]
    root = next((root for root in roots if root.is_dir()), None)
    files = sorted(root.glob(f"*/{file}")) if root else []
    return {path.parent.name: path.parent for path in files}
