"""The record of interchange interventions: what ``interchange --json`` prints."""

from __future__ import annotations

from pydantic import Field

from circuitgraph.catalog.records import (
    SCHEMA_VERSION,
    Environment,
    Interval,
    ModelRecord,
    Record,
    TaskRecord,
)


class SwapRecord(Record):
    """Some variables swapped at once, each from a donor of its own with another value.

    ``n_prompts`` prompts have such donors. After the swap the program has an answer on
    ``n_defined`` of them, and a new answer on ``n_changed``. ``accuracy`` and ``accuracy_changed``:
    on what share of these the model gives that answer; None where there are none. ``failures``:
    some of the shortest prompts on which the model does not, with their donors, in words.
    """

    variables: list[str]
    n_prompts: int
    n_defined: int
    n_changed: int
    accuracy: Interval | None
    accuracy_changed: Interval | None
    failures: list[str]


class NecessityRecord(Record):
    """What resampling some variables' claimed paths costs, as a share of the gain over chance."""

    variables: list[str] = Field(description="none: all leaves of the tree of claims")
    necessity: Interval


class InterchangeRecord(Record):
    """Interchange intervention accuracy (Geiger et al. 2021) and necessity of variables."""

    schema_version: int = SCHEMA_VERSION
    hypothesis: str
    model: ModelRecord
    task: TaskRecord
    environment: Environment
    metric: str
    seed: int
    n: int
    swaps: list[SwapRecord]
    necessity: list[NecessityRecord]
