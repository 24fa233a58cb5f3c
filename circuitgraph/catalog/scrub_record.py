"""The record of a scrub: what ``scrub --json`` prints."""

from __future__ import annotations

from pydantic import Field

from circuitgraph.catalog.hypothesis_record import HypothesisRecord
from circuitgraph.catalog.records import (
    SCHEMA_VERSION,
    Environment,
    Interval,
    ModelRecord,
    Record,
    TaskRecord,
)


class ComparedRecord(Record):
    """Another hypothesis on the same prompts: a rival, or a null that says nothing.

    ``difference``: how much nearer the hypothesis comes to recovering all, on the same prompts.
    """

    name: str
    loss: Interval
    recovered: Interval
    standard_error: float
    accuracy: Interval
    difference: Interval


class ClassesRecord(Record):
    """How much a variable leaves open: prompts that share its value can be resampled.

    ``mean``: prompts in a class, on average over classes. ``singletons``: prompts that share their
    value with no other prompt. ``effective_donors``: exp of the entropy of the prompt given the
    value; 1 is a claim that cannot fail.
    """

    variable: str
    n_classes: int
    smallest: int
    mean: float
    singletons: int
    effective_donors: float


class SplitRecord(Record):
    """The share of the loss recovered on the prompts of one class.

    ``recovered`` is None where the model and the zero point do not differ.
    """

    variable: str
    value: str
    n: int
    recovered: Interval | None


class NodeRecord(Record):
    """A node of the tree of claims.

    ``alone``: the share of the loss recovered when only this node is resampled; ``all_but``: when
    all other nodes are. ``donor``: the node's donor prompt in one draw (the reference itself at the
    root), which has the same ``value`` as the parent's donor; ``others``: the donor prompt of its
    unclaimed inputs, where they had one.
    """

    path: list[str]
    variable: str
    site: str
    feeds: str
    role: str
    alone: Interval
    all_but: Interval
    donor: str
    value: str
    others: str | None


class HarshestRecord(Record):
    """The node that, resampled alone, moves its worst prompts most.

    ``deviation``: mean of the loss's change over prompts; ``worst_decile``: of its largest tenth;
    ``largest``: the change of one ``prompt``, the worst of the sample.
    The node is chosen by that tenth, so that another sample's worst node may lose less.
    """

    path: list[str]
    variable: str
    site: str
    deviation: Interval
    worst_decile: Interval
    largest: float
    prompt: str


class CostRecord(Record):
    """What was run.

    ``n_values``: nodes of all trees times prompts; a node that trees share counts once.
    ``bytes_held``: the size of the activations that were kept.
    """

    n_trees: int
    n_values: int
    bytes_held: int


class ScrubRecord(Record):
    """Causal scrubbing of one hypothesis (Chan et al. 2022).

    ``recovered`` = (random - scrubbed) / (random - model) of the mean losses, where the loss is the
    metric turned so that lower is better, always judged by the reference's labels. ``zero_point``
    says what ``loss_random`` is. ``agreement``: how often the most likely token is the model's own.
    ``deviation``: mean of |scrubbed - model| over prompts, and ``worst_decile`` of its largest
    tenth: large where a gain on some prompts hides a loss on others. ``splits``: by each variable
    of few values. ``other_layout``: share of draws with another length, or other role positions,
    than the reference. ``held``: the hypothesis recovers more than each rival and null, and more
    than nothing, with 95 % confidence; and most prompts have donors other than themselves.
    ``outcome``: ``held``; ``refuted`` if one of these recovers more with 95 % confidence; ``not
    shown`` if the prompts decide neither. None in records written before these were told apart.
    """

    schema_version: int = SCHEMA_VERSION
    hypothesis: str
    file: str
    file_sha256: str | None
    stored: HypothesisRecord | None = Field(None, description="the hypothesis itself, as data")
    model: ModelRecord
    task: TaskRecord
    environment: Environment
    metric: str
    unclaimed: str
    align: str
    seed: int
    n: int
    zero_point: str
    loss_model: Interval
    loss_random: Interval
    loss_scrubbed: Interval
    recovered: Interval
    standard_error: float
    accuracy_model: Interval
    accuracy_random: Interval
    accuracy_scrubbed: Interval
    agreement: Interval
    deviation: Interval
    worst_decile: Interval
    other_layout: float
    classes: list[ClassesRecord]
    splits: list[SplitRecord]
    nodes: list[NodeRecord] = Field(description="parents before children, the output first")
    harshest: HarshestRecord | None = None
    rivals: list[ComparedRecord]
    nulls: list[ComparedRecord]
    nulls_left_out: dict[str, str] = Field(
        default_factory=dict,
        description="nulls that say what the hypothesis says, with the reasons",
    )
    notes: list[str] = Field(description="what a reader should know before believing the numbers")
    held: bool
    outcome: str | None = None
    verdict: str
    cost: CostRecord
