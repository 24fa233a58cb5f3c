"""The verdicts on the claims that ``circuitgraph test`` ran."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from circuitgraph.cli.output import Output

WORDS = ("held", "refuted", "not shown", "not tested", "failed", "error")
_PREFIX = "circuitgraph "


@dataclass
class Results:
    """A plugin of pytest that collects verdicts from its reports.

    Attributes:
        claims: for each claim its file, hypothesis, id, verdict, summary, detail and seconds. The
            verdict is ``not shown`` if the evidence decides neither way, ``error`` if something
            that the user gave cannot be used, and ``failed`` if something went wrong that should
            not.
        errors: for each file that cannot be used, its name and the reason.
        interrupted: Ctrl-C ended the run.
        root: the folder that file names in reports start from. The names above start from the
            working directory.
    """

    claims: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    root: Path = Path()
    interrupted: bool = False

    def pytest_configure(self, config: Any) -> None:
        """Called when the options are read."""
        self.root = config.rootpath

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Called when Ctrl-C ends the run; `pytest.exit` counts too."""
        self.interrupted = excinfo.errisinstance(KeyboardInterrupt)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called when a claim was run."""
        if report.when != "call" and not report.failed:
            return
        properties = {
            name.removeprefix(_PREFIX): text
            for name, text in report.user_properties
            if name.startswith(_PREFIX)
        }
        verdict = properties.get("verdict", "failed" if report.failed else report.outcome)
        detail = properties.get("detail", report.longreprtext)
        summary = properties.get("summary") or next(iter(detail.strip().splitlines()), "")
        file, _, claim = report.nodeid.partition("::")
        self.claims.append(
            {
                "file": self._relative_name(file),
                "hypothesis": properties.get("hypothesis", ""),
                "claim": claim,
                "verdict": verdict,
                "summary": summary,
                "detail": detail,
                "seconds": round(report.duration, 3),
            }
        )

    def pytest_collectreport(self, report: Any) -> None:
        """Called when a file was read."""
        if report.failed:
            self.errors.append(
                {"file": self._relative_name(report.nodeid), "message": report.longreprtext}
            )

    def _relative_name(self, name: str) -> str:
        try:
            return Path(os.path.relpath(self.root / name)).as_posix()
        except ValueError:  # on another drive
            return (self.root / name).as_posix()

    def count_verdicts(self) -> dict[str, int]:
        """How many claims got which verdict."""
        counts = Counter(claim["verdict"] for claim in self.claims)
        return {word: counts[word] for word in (*WORDS, *sorted(counts.keys() - set(WORDS)))}

    def format_line(self) -> str:
        """All counts in one line."""
        counts = [f"{n} {word}" for word, n in self.count_verdicts().items() if n or word == "held"]
        if self.errors:
            files = "1 file" if len(self.errors) == 1 else f"{len(self.errors)} files"
            counts.append(f"{files} cannot be used")
        elif not self.claims:
            return "No claim was found."
        claims = "1 claim" if len(self.claims) == 1 else f"{len(self.claims)} claims"
        return f"{claims}: {', '.join(counts)}"

    def choose_status(self, code: int) -> int:
        """The exit status of the command, given the one that pytest ended with."""
        counts = self.count_verdicts()
        is_incomplete = self.errors or not self.claims or counts["error"] or counts["not tested"]
        return 2 if is_incomplete or code not in (0, 1) else code

    def print_summary(self, output: Output) -> None:
        """Print the closing line, or everything as JSON.

        Files that cannot be used are named on stderr even if all else is quiet.
        """
        summary = {"claims": self.claims, "errors": self.errors, "counts": self.count_verdicts()}
        if self.claims or self.errors or output.as_json:
            output.print_result(
                json.dumps(summary, indent=2, ensure_ascii=False), self.format_line()
            )
        else:
            typer.echo(f"Error: {self.format_line()}", err=True)
        if output.quiet:
            for error in self.errors:
                typer.echo(f"Error: {error['message']}", err=True)
