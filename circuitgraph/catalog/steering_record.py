"""The record of interventions on units: what ``steer --json`` prints."""

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


class TokenRecord(Record):
    """A token that a model may say next, and how likely it is."""

    text: str
    token: int
    probability: float


class InterventionRecord(Record):
    """What was done to a unit, and its mean value before and in each run, where it was done."""

    unit: str
    kind: str
    values: list[float] = Field(description="for each run: set to, scaled by, or added")
    before: float
    after: list[float]


class SteeredPromptRecord(Record):
    """One prompt: its metric, the likeliest tokens at its end, and how it goes on.

    What has ``after`` in its name has an item for each run.
    """

    text: str
    before: float
    after: list[float]
    top_before: list[TokenRecord]
    top_after: list[list[TokenRecord]]
    continuation_before: str | None
    continuation_after: list[str]


class SteeringRecord(Record):
    """Interventions on units, all at once in each run; one run for each strength.

    ``before`` and ``after``: the metric's means; None where an interval needs more prompts.
    ``change``: after - before.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord
    task: TaskRecord | None
    environment: Environment
    dictionaries: list[str] = Field(description="places where their features are read")
    metric: str
    n_prompts: int
    interventions: list[InterventionRecord]
    before: Interval | None
    after: list[Interval | None]
    change: list[Interval | None]
    prompts: list[SteeredPromptRecord]
