"""The records of circuits and curves: what ``circuit.json`` and ``curve.json`` hold.

To a record of any file here, fields are only ever added; a change of meaning raises
`SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
)

from circuitgraph.showable import Showable

SCHEMA_VERSION = 1
# of circuits in graphs with split MLPs; all others are written as before, and both are read
SPLIT_SCHEMA_VERSION = 2
# of circuits in graphs with split heads
HEAD_SPLIT_SCHEMA_VERSION = 3


class Record(Showable, BaseModel):
    """Base of all records: nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describe_fields(error: ValidationError) -> list[str]:
    """One line for each field that is not as a record wants it."""
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]


# What a few free settings must be, because more than one reader takes them as that.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "data": (str,),
    "sha256": (str,),
    "bos": (str,),
    "threshold": (int, float, type(None)),
    "config": (str, dict),
    "trust_remote_code": (bool,),
    "ignore_config_fields": (list,),
}
_OPTIONS = ("config", "trust_remote_code", "ignore_config_fields")
_FIELDS = ("name", "model", "seed")


def _check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    for name, value in settings.items():
        if not isinstance(value, _KINDS.get(name, object)):
            kinds = " or ".join(kind.__name__ for kind in _KINDS[name])
            raise ValueError(f"{name} is a {type(value).__name__}, but must be {kinds}")
    return settings


def _check_task_settings(settings: dict[str, Any]) -> dict[str, Any]:
    if own := sorted(set(settings) & set(_FIELDS)):
        raise ValueError(f"{own[0]!r} has a field of its own, and is no setting of a task")
    return _check_settings(settings)


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise ValueError(f"{unknown[0]!r} is no option of load_model that a record keeps")
    if not all(isinstance(name, str) for name in options.get("ignore_config_fields", ())):
        raise ValueError("ignore_config_fields must be names")
    return _check_settings(options)


Settings = Annotated[dict[str, Any], AfterValidator(_check_settings)]
TaskSettings = Annotated[dict[str, Any], AfterValidator(_check_task_settings)]
Options = Annotated[dict[str, Any], AfterValidator(_check_options)]
LARGEST_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class AttachedDictionaryRecord(Record):
    """Which dictionary takes the MLP of a layer apart, with the hash of its weights."""

    layer: int
    name: str
    sha256: str


class ModelRecord(Record):
    """Which model, with hashes of the loaded weights and of the tokenizer's rules."""

    name: str
    family: str
    revision: str | None
    weights_sha256: str
    tokenizer_sha256: str | None
    n_parameters: int
    options: Options = Field(
        {}, description="of `load_model`, beside name, revision and precision, where given"
    )
    dictionaries: list[AttachedDictionaryRecord] = Field(
        [], description="whose features can be nodes; left out where there are none"
    )

    @model_serializer(mode="wrap")
    def _leave_out_no_dictionaries(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = write(self)
        if not self.dictionaries:
            del content["dictionaries"]
        return content


class TaskRecord(Record):
    """Which prompts a search saw: these values, ``n_prompts`` and all, give the same prompts."""

    name: str
    arguments: TaskSettings
    seed: Seed
    split: str
    n_prompts: int = Field(ge=1)
    prompts_sha256: str


class AlgorithmRecord(Record):
    """Which search, with all its settings, and what the search did."""

    name: str
    arguments: Settings
    score: str | None = Field(None, description="what the effects of edges mean")
    n_tested: int
    n_selected: int | None = Field(
        None, description="edges that a ranking selected, before those on no path were dropped"
    )
    close_calls: list[str] = Field(
        description="decisions nearer to the threshold than numerical noise"
    )
    seconds: float


class SpaceRecord(Record):
    """Which edges a search could decide on.

    ``without`` and ``protect`` are names of nodes, groups and edges, as they were given; the other
    two are edges of circuits.
    """

    without: list[str] = []
    protect: list[str] = []
    inside: list[str] | None = None
    start_from: list[str] | None = None


class MlpSplitRecord(Record):
    """Which neurons (or features) of an MLP are nodes of their own."""

    layer: int
    kind: Literal["neuron", "feature"]
    indices: list[int]
    frozen: bool = Field(
        False, description="the dictionary's error is the clean run's; left out where it is not"
    )
    own_inputs: bool = Field(
        False, description="each of them is a reader, too; left out where all share an input"
    )

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = write(self)
        for name in ("frozen", "own_inputs"):
            if not content[name]:
                del content[name]
        return content


class HeadSplitRecord(Record):
    """By which source positions a head is cut: names of roles, or numbers of positions."""

    layer: int
    head: int
    sources: list[str]


class GraphRecord(Record):
    """Which graph: enough to build the graph again, with its counts to check against."""

    convention: str
    n_layers: int
    n_heads: int
    mlp: bool
    direct: bool
    parallel: bool = False
    coupled: bool = False
    n_kv_heads: int | None = Field(
        None, description="given where k and v are one reader for each key-value head"
    )
    n_writers: int
    n_readers: int
    n_edges: int
    splits: list[MlpSplitRecord] = Field(
        [], description="MLPs in parts; left out where all are whole"
    )
    head_splits: list[HeadSplitRecord] = Field(
        [], description="heads in parts by where they fetch; left out where all are whole"
    )

    @model_serializer(mode="wrap")
    def _leave_out_no_splits(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = write(self)
        for name in ("splits", "head_splits"):
            if not content[name]:
                del content[name]
        return content


class EdgeRecord(Record):
    """One kept edge; ``effect`` is its score, if the edge was tested.

    The algorithm's record says what a score means.
    """

    edge: str
    effect: float | None


class Interval(Record):
    """A mean over prompts (or circuits) with its 95 % interval."""

    mean: float
    low: float
    high: float


class EvaluationRecord(Record):
    """How good a circuit is on prompts that its search did not see.

    ``full``, ``empty`` and ``circuit`` are mean metrics. ``faithfulness`` is (circuit - empty) /
    (full - empty) (Mueller et al. 2025), None where full and empty do not differ.
    ``random_faithfulness``: mean over ``n_random`` circuits of equal size, with the range that
    holds 95 % of them. ``seen``: how many of the clean prompts the search saw too; None where
    that cannot be told.
    """

    metric: str
    ablation: str
    split: str
    seed: int
    n_prompts: int
    prompts_sha256: str
    full: Interval
    empty: Interval
    circuit: Interval
    faithfulness: Interval | None
    random_faithfulness: Interval | None
    n_random: int
    seen: int | None = 0


class Environment(Record):
    """What else could change a digit: versions, backend, number of devices, precision.

    ``shards``: the number of devices that each weight was cut over; null where all were on each.
    """

    precision: str
    backend: str
    devices: int = 1
    shards: int | None = None
    versions: dict[str, str]


class CurvePoint(Record):
    """The circuit of one threshold.

    ``loss``: mean on the discovery prompts; ``circuit``: the circuit's folder, if stored.
    """

    threshold: float
    n_edges: int
    n_tested: int
    loss: float
    evaluation: EvaluationRecord
    circuit: str | None = None


class CurveRecord(Record):
    """Size against quality over thresholds: ``curve.json``.

    ``n_tested``: edges tested in all; an edge that several searches share counts once.
    ``n_alone``: edges that the searches would have tested one after the other.
    """

    schema_version: int = SCHEMA_VERSION
    metric: str
    ablation: str
    n_edges: int = Field(description="of the whole graph")
    n_tested: int
    n_alone: int
    seconds: float
    points: list[CurvePoint]


class RefinementRecord(Record):
    """How MLPs came to be cut into neurons.

    ``refine``: as it was asked for; ``auto`` means that a search among heads and MLPs went before,
    whose circuit had ``n_head_edges`` edges, and that the ``n_units`` most important neurons of its
    MLPs were made nodes. ``rests``: what the loss rises by, on the search's prompts, when all edges
    from one MLP's rest are removed from the circuit.
    """

    refine: list[str]
    n_units: int
    n_head_edges: int | None = None
    rests: dict[str, float]


class ImportedRecord(Record):
    """From which file of another tool a circuit was read.

    Which prompts that tool's search saw is not known: the record's task has those that would have
    been drawn here. ``notes``: what of the file was not taken.
    """

    format: str
    file: str
    sha256: str
    notes: list[str] = []


class CircuitRecord(Record):
    """The whole of ``circuit.json``. A circuit made by hand has no model, task or algorithm."""

    schema_version: int = SCHEMA_VERSION
    model: ModelRecord | None = None
    task: TaskRecord | None = None
    metric: str | None = None
    ablation: str | None = None
    reference_sha256: str | None = Field(
        None, description="of the prompts of means, where not the task's own"
    )
    algorithm: AlgorithmRecord | None = None
    space: SpaceRecord | None = Field(None, description="of the search, where it was not the whole")
    environment: Environment | None = None
    graph: GraphRecord
    refinement: RefinementRecord | None = None
    imported: ImportedRecord | None = Field(None, description="left out where it was found here")
    edges: list[EdgeRecord]
    evaluation: EvaluationRecord | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = write(self)
        for name in ("refinement", "imported"):
            if getattr(self, name) is None:
                content.pop(name, None)
        return content

    def to_json(self) -> str:
        """JSON made to be read and compared in git: sorted keys, one edge a line."""
        return format_lines(self.model_dump(mode="json"), ("edges",))


def format_lines(content: Mapping[str, Any], lists: Sequence[str]) -> str:
    """A record as JSON with sorted keys, where each item of these lists has a line of its own."""
    texts = {
        name: json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False)
        for name, value in content.items()
    }
    for name in lists:
        if content[name]:
            items = ",\n".join(f"  {json.dumps(item, sort_keys=True)}" for item in content[name])
            texts[name] = f"[\n{items}\n]"
    # A field's text is indented by one level more. Newlines inside strings are escaped.
    fields = [f'  "{name}": ' + texts[name].replace("\n", "\n  ") for name in sorted(texts)]
    return "{\n" + ",\n".join(fields) + "\n}\n"
