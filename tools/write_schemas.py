"""Write the JSON Schemas of ``circuit.json`` and ``judgement.json`` from the records.

``python tools/write_schemas.py`` writes docs/schemas; ``--check`` only says whether they are up to
date (exit status 1 if not).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from circuitgraph.catalog.judgement_record import JudgementRecord
from circuitgraph.catalog.records import CircuitRecord, Record

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
RECORDS: dict[str, type[Record]] = {"circuit": CircuitRecord, "judgement": JudgementRecord}


def format_schema(name: str) -> str:
    """The schema of one record, as a file says it."""
    content = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **RECORDS[name].model_json_schema(),
        "title": f"{name}.json of circuitgraph",
    }
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write the files, or check them."""
    stale = []
    for name in RECORDS:
        file, text = FOLDER / f"{name}.schema.json", format_schema(name)
        if "--check" not in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
    if stale:
        print(f"{', '.join(stale)} not as the records: run tools/write_schemas.py")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
