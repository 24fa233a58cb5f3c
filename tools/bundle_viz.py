"""Fetch Graphviz for the browser: the one file of the npm package @viz-js/viz that pages hold.

    python tools/bundle_viz.py

Needs npm. What was fetched must have the SHA-256 that stands here; ``viz.json`` beside the file
says what it is. For another version, change `VERSION` and both hashes, and look at a page.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "3.31.0"
PACKAGE_SHA256 = "7dc0189874849cca2fed7cbe88bf334cd0e6e012db16657794a812ad6f2b8c70"
FILE_SHA256 = "c9e0b310f9883910e01c66054b48b7ff4be3d8695141116635e72b0af152692e"
FILE = "package/dist/viz-global.js"
VENDOR = Path(__file__).resolve().parent.parent / "circuitgraph" / "drawing" / "page" / "vendor"


def fetch_file(folder: Path) -> bytes:
    """The file, from the package as npm hands it out."""
    command = ["npm", "pack", f"@viz-js/viz@{VERSION}", "--silent"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    package = folder / done.stdout.strip().splitlines()[-1]
    check_hash(package.name, package.read_bytes(), PACKAGE_SHA256)
    with tarfile.open(package) as archive:
        member = archive.extractfile(FILE)
        assert member is not None, f"{package.name} has no {FILE}"
        return member.read()


def check_hash(name: str, content: bytes, wanted: str) -> None:
    """Stop unless the content has that SHA-256."""
    actual = hashlib.sha256(content).hexdigest()
    if actual != wanted:
        sys.exit(f"{name} has the SHA-256 {actual}, not {wanted}: nothing was written.")


def main() -> int:
    """Write the file and what it is."""
    with tempfile.TemporaryDirectory() as folder:
        content = fetch_file(Path(folder))
    check_hash(FILE, content, FILE_SHA256)
    about = {"package": "@viz-js/viz", "version": VERSION, "file": FILE, "sha256": FILE_SHA256}
    (VENDOR / "viz.js").write_bytes(content)
    (VENDOR / "viz.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(f"{VENDOR / 'viz.js'}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
