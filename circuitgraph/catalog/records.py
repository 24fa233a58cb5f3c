"""The record of a circuit: what ``circuit.json`` holds and ``discover --json`` prints.

Fields are only ever added; a change of meaning raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records: nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelRecord(Record):
    """Which model: hashes are of the loaded weights and of the tokenizer's rules."""

    name: str
    family: str
    revision: str | None
    weights_sha256: str
    tokenizer_sha256: str | None
    n_parameters: int


class TaskRecord(Record):
    """Which prompts the search saw: drawing ``n_prompts`` with this seed and these arguments gives
    them again.
    """

    name: str
    arguments: dict[str, Any]
    seed: int
    split: str
    n_prompts: int
    prompts_sha256: str


class AlgorithmRecord(Record):
    """Which search, with all its settings, and what it did."""

    name: str
    arguments: dict[str, Any]
    score: str | None = Field(None, description="what the effects of edges mean")
    n_tested: int
    close_calls: list[str] = Field(
        description="decisions nearer to the threshold than numerical noise"
    )
    seconds: float


class GraphRecord(Record):
    """Which graph: enough to build it again, with its counts to check against."""

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


class EdgeRecord(Record):
    """One kept edge. ``effect``: its score, as the algorithm's record says what that means, if it
    was tested.
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

    ``full``, ``empty`` and ``circuit`` are mean metrics; faithfulness is (circuit - empty) / (full
    - empty) (Mueller et al. 2025), None where full and empty do not differ.
      ``random_faithfulness``: mean over
    ``n_random`` circuits of equal size, with the range that holds 95 % of them. ``seen``: how many
    of the clean prompts the search saw too; None where that cannot be told.
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
    """What else could change a digit: versions, backend, number of devices, precision."""

    precision: str
    backend: str
    devices: int = 1
    versions: dict[str, str]


class TokenizerRecord(Record):
    """How text becomes tokens: exactly these, nothing added.

    ``default_adds``: tokens that the tokenizer would put around a text if it were left to its
        defaults.
    """

    n_tokens: int
    bos: str | None
    default_adds: list[str]
    example: str
    example_tokens: list[str]


class MemoryRecord(Record):
    """What a search over masks needs beside the weights, at this number of prompts and tokens."""

    n_prompts: int
    n_tokens: int
    bytes_weights: int
    bytes_needed: int
    prompts_per_launch: int


class ParityRecord(Record):
    """How near our forward pass comes to transformers' own, on random prompts of full length.

    ``difference`` is the largest of any logit, at ``prompt``, ``position``, ``token``; ``relative``
    is the root mean square of the difference over that of the logits. ``argmax_agreement``: share
    of positions with the same most likely token. ``residual``: for each layer, and after the last,
    the largest difference between their residual stream and the sum of our writers, relative to the
    stream's largest number. ``untested``: what shows in longer prompts only. ``held``: float32 and
        float64 need difference <= max(1e-4, 1e-5 * largest logit) and residual <= 1e-5; 16-bit
    precisions relative <= 2e-2.
    """

    reference: str
    precision: str
    seed: int
    n_prompts: int
    n_tokens: int
    difference: float
    prompt: int
    position: int
    token: int
    largest_logit: float
    relative: float
    argmax_agreement: float
    residual: list[float]
    untested: list[str]
    held: bool


class CompileRecord(Record):
    """A compiled model: what it is, its graph, what searching it needs, and whether it is the model
    it claims to be.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    family: str
    revision: str | None
    weights_sha256: str | None = Field(
        description="computed with --verify only: hashing takes time"
    )
    precision: str
    n_parameters: int
    sizes: dict[str, int]
    settings: list[str] = Field(
        description="what the forward pass has beyond plain attention and MLPs"
    )
    graph: GraphRecord
    tokenizer: TokenizerRecord | None
    memory: MemoryRecord
    parity: ParityRecord | None


class CurvePoint(Record):
    """The circuit of one threshold. ``loss``: mean on the discovery prompts; ``circuit``: its
    folder, if stored.
    """

    threshold: float
    n_edges: int
    n_tested: int
    loss: float
    evaluation: EvaluationRecord
    circuit: str | None = None


class CurveRecord(Record):
    """Size against quality over thresholds: ``curve.json``.

    ``n_tested``: edges tested in all, one that several searches share counted once; ``n_alone``:
        what the searches
    would have tested one after the other.
    """

    schema_version: int = SCHEMA_VERSION
    metric: str
    ablation: str
    n_edges: int = Field(description="of the whole graph")
    n_tested: int
    n_alone: int
    seconds: float
    points: list[CurvePoint]


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
    environment: Environment | None = None
    graph: GraphRecord
    edges: list[EdgeRecord]
    evaluation: EvaluationRecord | None = None

    def to_json(self) -> str:
        """JSON made to be read and compared in git: sorted keys, one edge a line."""
        content = self.model_dump(mode="json")
        edges = ",\n".join(f"    {json.dumps(edge, sort_keys=True)}" for edge in content["edges"])
        content["edges"] = []
        text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False)
        empty = '\n  "edges": []'  # with the indent of the top level, where alone the edges go
        return text.replace(empty, f'\n  "edges": [\n{edges}\n  ]' if edges else empty) + "\n"
