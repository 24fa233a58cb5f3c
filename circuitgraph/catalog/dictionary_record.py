"""The record of a dictionary: what ``dictionary --json`` prints."""

from __future__ import annotations

from pydantic import Field

from circuitgraph.catalog.records import SCHEMA_VERSION, Interval, ModelRecord, Record, TaskRecord


class LossRecord(Record):
    """A loss of the model, of the spliced model, and with zeros in place of what is spliced.

    ``recovered``: (zeros - spliced) / (zeros - model); None where zeros cost nothing.
    """

    model: Interval
    spliced: Interval
    zeros: Interval
    recovered: Interval | None


class SpliceRecord(Record):
    """What becomes of a model whose values are replaced by a dictionary's reconstruction of them.

    Means over the tokens of each prompt, with intervals over prompts. ``next_token``: cross-entropy
    of the prompts' own next tokens, at all positions; ``answer``: of the task's answers. ``kl``:
    KL(model || spliced) in nats. ``l0``: features that are on. ``variance_explained``: 1 - squared
    error / variance of the values around their mean. ``n_dead``: features that are on at no token.
    """

    n_prompts: int
    n_tokens: int
    next_token: LossRecord | None = Field(description="None for prompts of one token")
    answer: LossRecord | None
    kl: Interval
    l0: Interval
    variance_explained: Interval | None
    n_features: int
    n_dead: int


class DictionaryRecord(Record):
    """What one dictionary is."""

    layout: str
    kind: str
    n_features: int
    d_in: int
    d_out: int
    activation: str
    k: int | None
    normalisation: str
    input_scale: float
    subtracts_b_dec: bool
    decoder_norm: str
    skips: bool
    reads: str | None
    writes: list[str]
    model_name: str | None
    can_be_nodes: bool
    node_problem: str | None


class DictionariesRecord(Record):
    """The dictionaries at one place, lowest layer first.

    ``splice`` says how good they are, all in ``model`` at once, on prompts of ``task``.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    dictionaries: list[DictionaryRecord]
    model: ModelRecord | None
    task: TaskRecord | None
    splice: SpliceRecord | None


class TrainingRecord(Record):
    """How a dictionary was trained: ``training.json`` beside it.

    ``unexplained``: share of the variance that the last steps left; ``splice``: its quality on
    prompts that the training did not see.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord
    task: TaskRecord
    n_tokens: int
    reads: str
    writes: str
    settings: dict[str, int | float]
    unexplained: float
    seconds: float
    splice: SpliceRecord
