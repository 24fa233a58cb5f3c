"""What ``circuitgraph compile`` printed."""

from __future__ import annotations

import re

from circuitgraph.catalog.compile_record import CompileRecord, ParityRecord
from tests.cli.conftest import Ran


def rows(text: str) -> dict[str, str]:
    """The lines of the output, by what stands before them."""
    return {
        m[1]: m[2]
        for line in text.splitlines()
        if (m := re.fullmatch(r"(\S.*?) {2,}(.*\S) *", line))
    }


def record(ran: Ran) -> CompileRecord:
    assert ran.err == ""
    return CompileRecord.model_validate_json(ran.out)


def proof(ran: Ran) -> ParityRecord:
    found = record(ran).parity
    assert found is not None
    return found
