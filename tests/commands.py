"""Commands of one process, one after the other, for `tests.users.Sitting`.

Reads the arguments of each as a line of JSON, and answers with a line: how it ended and what it
printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from unittest import mock

from circuitgraph.cli.main import main


def run_command(arguments: list[str]) -> tuple[int, str, str]:
    """The exit status of ``circuitgraph ARGUMENTS``, its output and its messages."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    argv = mock.patch.object(sys, "argv", ["circuitgraph", *arguments])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), argv:
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run_command(json.loads(line))), flush=True)
