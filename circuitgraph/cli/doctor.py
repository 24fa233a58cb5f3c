"""``circuitgraph doctor``: what is installed here, what is missing, and how to get it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from circuitgraph.cli.options import JsonOption, QuietOption
from circuitgraph.cli.output import Output

_MARKS = {"ok": "ok     ", "missing": "missing", "problem": "PROBLEM"}


def examine_installation(
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Do not ask the network whether the hub answers.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is installed here, what is missing, and the line that brings it: versions, devices,
    Graphviz, caches, hub, extras.

    Ends with status 1 if something is wrong that circuitgraph cannot do without.

    Example: `circuitgraph doctor --local-only`
    """
    from circuitgraph.cli.doctor_checks import run_checks

    output, checks = Output(as_json, quiet), []
    for check in run_checks(ask_hub=not local_only):  # each is shown as soon as it is known
        checks.append(check)
        if not as_json:
            remedy = f"\n        -> {check.remedy}" if check.remedy else ""
            output.print_result("", f"{_MARKS[check.status]} {check.name}: {check.value}{remedy}")
    output.print_result(json.dumps([asdict(check) for check in checks], indent=2))
    if any(check.status == "problem" for check in checks):
        raise typer.Exit(1)
