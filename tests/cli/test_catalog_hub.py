"""A catalog on a hub is listed and shown from there; the hub is a small server of this test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CIRCUITS = Path(__file__).parents[2] / "catalog" / "circuits"
DATASET = "/datasets/ORG/my-circuits"
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """The three answers of the hub that a reader of a dataset needs."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api{DATASET}/tree/"):
            files = [path for path in (CIRCUITS / "induction-2l").rglob("*") if path.is_file()]
            self._send(json.dumps([describe_file(file) for file in files]).encode())
        elif path == f"/api{DATASET}":
            self._send(json.dumps({"id": "ORG/my-circuits", "sha": COMMIT}).encode())
        elif path.startswith(f"{DATASET}/resolve/main/"):
            content = (CIRCUITS / path.removeprefix(f"{DATASET}/resolve/main/")).read_bytes()
            start, end = self.headers["Range"].removeprefix("bytes=").split("-")
            self._send(content[int(start) : int(end) + 1], 206)
        else:
            self._send(b"", 404)

    def _send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest's output is enough."""


def describe_file(file: Path) -> dict[str, object]:
    name, size = file.relative_to(CIRCUITS).as_posix(), file.stat().st_size
    return {"type": "file", "oid": "0" * 40, "size": size, "path": name}


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, str]]:
    """The environment of a user of this hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
    }
    server.shutdown()
    server.server_close()


def run(environment: dict[str, str], *line: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: the hub's library reads the environment when it is imported."""
    command = [sys.executable, "-m", "circuitgraph", "catalog", *line]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_entry_is_shown(hub: dict[str, str]) -> None:
    name, place = "induction-2l/induction/acdc", "hf://datasets/ORG/my-circuits"
    there = run(hub, "show", name, "--catalog", place, "--json")
    here = run(hub, "show", name, "--catalog", str(CIRCUITS), "--json")
    assert there.returncode == 0, there.stderr
    there_content, here_content = json.loads(there.stdout), json.loads(here.stdout)
    assert there_content.pop("catalog", None) != here_content.pop("catalog", "")
    assert there_content == here_content


def test_no_such_dataset(hub: dict[str, str]) -> None:
    refused = run(hub, "list", "--catalog", "hf://datasets/ORG/other")
    assert refused.returncode == 2
    assert "'hf://datasets/ORG/other' cannot be read" in refused.stderr
    assert "repository not found" in refused.stderr
