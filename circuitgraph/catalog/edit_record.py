"""The record of an edit of weights: what ``edit --json`` prints."""

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


class TaskChangeRecord(Record):
    """A metric's mean before and after an edit; ``change`` is that of the paired differences."""

    task: TaskRecord
    metric: str
    before: Interval
    after: Interval
    change: Interval


class WeightEditRecord(Record):
    """Nodes whose output weights were multiplied, or all others of their kinds."""

    nodes: list[str]
    scale: float
    keep_only: bool


class LoraRecord(Record):
    """The layer to whose query and value matrices changes of low rank were added."""

    layer: int
    rank: int


class TuningRecord(Record):
    """Parameters that were tuned, and what that took.

    ``step_seconds``: the median time of a step, compilation left out.
    """

    nodes: list[str] | None = Field(description="None: all parameters, or those of lora")
    lora: LoraRecord | None = None
    n_tuned: int
    n_parameters: int
    steps: int
    batch_size: int
    learning_rate: float
    n_prompts: int
    seconds: float
    step_seconds: float
    loss_first: float = Field(description="cross-entropy in nats before the first step")
    loss_last: float = Field(description="the mean over the last tenth of the steps")


class EditRecord(Record):
    """A model whose weights were edited, and what that did to tasks; the first is the edit's own.

    ``random``: the same tasks where as many neurons were kept at random, if a share was kept.
    ``folder``: where it was written as a checkpoint, and ``tensors``, which of it are others.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord
    edited: ModelRecord
    environment: Environment
    edits: list[WeightEditRecord]
    tuning: TuningRecord | None
    tasks: list[TaskChangeRecord]
    random: list[TaskChangeRecord] | None = None
    folder: str | None
    tensors: list[str]
