"""Write the floors of docs/architecture.md from the import contract, so that there is one map.

``python tools/map_floors.py`` rewrites the part of the page between the two markers;
``python tools/map_floors.py --check`` only says whether it is up to date (exit status 1 if not).
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- floors: begin -->", "<!-- floors: end -->"


def read_floors() -> list[list[str]]:
    """The rooms of each floor, the lowest floor first, as the layers contract lists them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    return [layer.replace("|", ":").replace(" ", "").split(":") for layer in reversed(layers)]


def read_summary(room: str) -> str:
    """The first sentence of a room's docstring."""
    folder = ROOT / "circuitgraph" / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def format_floors() -> str:
    """The floors as a Markdown table, the lowest floor at the bottom, as a house has it."""
    rows = ["| floor | room | what it is |", "|--:|---|---|"]
    floors = read_floors()
    for number in reversed(range(len(floors))):
        for room in floors[number]:
            name = f"{room}/" if (ROOT / "circuitgraph" / room).is_dir() else f"{room}.py"
            rows.append(f"| {number} | `{name}` | {read_summary(room)} |")
    return "\n".join(rows)


def insert_floors(page: str) -> str:
    """The page with the floors of today between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{format_floors()}\n{END}{after}"


def main() -> int:
    """Rewrite the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    current = insert_floors(page)
    if "--check" in sys.argv:
        if current != page:
            print("docs/architecture.md is not as the import contract: run tools/map_floors.py")
        return int(current != page)
    PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
