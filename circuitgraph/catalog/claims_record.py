"""The record of claims that were tested: what ``test --json`` prints."""

from __future__ import annotations

from circuitgraph.catalog.records import Record


class ClaimRecord(Record):
    """One claim of a hypothesis, and its verdict: held, refuted, not shown, not tested, failed or
    error.
    """

    file: str
    hypothesis: str
    claim: str
    verdict: str
    summary: str
    detail: str
    seconds: float


class ClaimsRecord(Record):
    """All claims of a run; ``errors`` are files that could not be used, ``counts`` the verdicts."""

    claims: list[ClaimRecord]
    errors: list[dict[str, str]]
    counts: dict[str, int]
