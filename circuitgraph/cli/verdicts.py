"""What came of the claims that ``circuitgraph test`` ran."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from circuitgraph.cli.output import Output

WORDS = ("held", "refuted", "not tested", "failed", "error")
_PREFIX = "circuitgraph "


@dataclass
class Results:
    """A plugin of pytest that takes down what its reports say.

    Attributes:
        claims: for each claim its file, hypothesis, id, verdict, summary, detail and seconds. The
            verdict is ``error`` if something that the user gave cannot be used, and ``failed`` if
            something went wrong that should not.
        errors: for each file that cannot be used, its name and why.
        root: what names of files in reports start from; here they start from the working directory.
    """

    claims: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    root: Path = Path()

    def pytest_configure(self, config: Any) -> None:
        """The options are read."""
        self.root = config.rootpath

    def pytest_runtest_logreport(self, report: Any) -> None:
        """One claim was run."""
        if report.when != "call" and not report.failed:
            return
        told = {
            k.removeprefix(_PREFIX): v for k, v in report.user_properties if k.startswith(_PREFIX)
        }
        verdict = told.get("verdict", "failed" if report.failed else report.outcome)
        detail = told.get("detail", report.longreprtext)
        summary = told.get("summary") or next(iter(detail.strip().splitlines()), "")
        file, _, claim = report.nodeid.partition("::")
        self.claims.append(
            {
                "file": self._file(file),
                "hypothesis": told.get("hypothesis", ""),
                "claim": claim,
                "verdict": verdict,
                "summary": summary,
                "detail": detail,
                "seconds": round(report.duration, 3),
            }
        )

    def pytest_collectreport(self, report: Any) -> None:
        """One file was read."""
        if report.failed:
            self.errors.append({"file": self._file(report.nodeid), "message": report.longreprtext})

    def _file(self, name: str) -> str:
        try:
            return Path(os.path.relpath(self.root / name)).as_posix()
        except ValueError:  # on another drive
            return (self.root / name).as_posix()

    def counts(self) -> dict[str, int]:
        """How many claims got which verdict."""
        found = Counter(claim["verdict"] for claim in self.claims)
        return {word: found[word] for word in (*WORDS, *sorted(found.keys() - set(WORDS)))}

    def line(self) -> str:
        """All in one line."""
        counts = [f"{n} {word}" for word, n in self.counts().items() if n or word == "held"]
        claims = "1 claim" if len(self.claims) == 1 else f"{len(self.claims)} claims"
        if self.errors:
            counts.append(
                "1 file cannot be used"
                if len(self.errors) == 1
                else f"{len(self.errors)} files cannot be used"
            )
        return (
            f"{claims}: {', '.join(counts)}"
            if self.claims or self.errors
            else "No claim was found."
        )

    def status(self, code: int) -> int:
        """The exit status of the command, for the one that pytest ended with."""
        counts = self.counts()
        if (
            self.errors
            or not self.claims
            or counts["error"]
            or counts["not tested"]
            or code not in (0, 1)
        ):
            return 2
        return int(code != 0)

    def show(self, output: Output) -> None:
        """The closing line, or everything as JSON. What cannot be used is said on stderr even if
        all else is quiet.
        """
        whole = {"claims": self.claims, "errors": self.errors, "counts": self.counts()}
        if self.claims or self.errors or output.as_json:
            output.result(json.dumps(whole, indent=2, ensure_ascii=False), self.line())
        else:
            typer.echo(f"Error: {self.line()}", err=True)
        if output.quiet:
            for error in self.errors:
                typer.echo(f"Error: {error['message']}", err=True)
