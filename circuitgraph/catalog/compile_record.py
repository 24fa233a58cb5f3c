"""The record of a compiled model: what ``compile --json`` prints."""

from __future__ import annotations

from pydantic import Field

from circuitgraph.catalog.records import SCHEMA_VERSION, GraphRecord, Record


class TokenizerRecord(Record):
    """How text becomes tokens: no token is added to those of the text.

    ``default_adds``: tokens that the tokenizer's defaults would put around a text.
    """

    n_tokens: int
    bos: str | None
    default_adds: list[str]
    example: str
    example_tokens: list[str]


class MemoryRecord(Record):
    """What a search over masks needs beside the weights, at this number of prompts and tokens.

    ``shards``: the number of devices that each weight is cut over; then ``bytes_on_device`` of the
    weights are on the device with most of them, and ``bytes_replicated`` of these on every device.
    """

    n_prompts: int
    n_tokens: int
    bytes_weights: int
    bytes_needed: int
    prompts_per_launch: int
    shards: int | None = None
    bytes_on_device: int | None = None
    bytes_replicated: int | None = None


class ParityRecord(Record):
    """How near our forward pass comes to others' own, on random prompts of full length.

    ``reference`` is whose code the logits and the residual stream were compared with: that of
    transformers, or for a state dict that of transformer_lens. Where nobody else's code runs the
    model it is ``none``, nothing is known of others' logits (``difference`` to
    ``argmax_agreement`` are null), and the stream is that of our own forward pass.

    ``difference`` is the largest of any logit, at ``prompt``, ``position``, ``token``; ``relative``
    is the root mean square of the difference over that of the logits. ``argmax_agreement``: share
    of positions with the same most likely token. ``residual``: for each layer, and after the last,
    the largest difference between the residual stream and the sum of our writers, relative to the
    stream's largest number. ``untested``: what shows in longer prompts only. ``rounding`` is the
    largest difference of a logit between the reference in float32 and itself in float64, and
    ``allowed`` is what ``difference`` may be: five times as much, or where that is less, 1e-6 and
    1e-6 of the largest logit; both are null for 16-bit precisions and without a reference.

    ``held``: float32 and float64 need difference <= allowed, and for each layer residual <= 1e-5 or
    five times the reference's rounding of that stream; 16-bit precisions relative <= 2e-2, without
    a reference residual <= 2e-2. ``proofs`` and ``not_proved`` say in words what was compared and
    what was not.
    """

    reference: str
    precision: str
    seed: int
    n_prompts: int
    n_tokens: int
    difference: float | None
    prompt: int | None
    position: int | None
    token: int | None
    largest_logit: float
    rounding: float | None = None
    allowed: float | None = None
    relative: float | None
    argmax_agreement: float | None
    residual: list[float]
    untested: list[str]
    held: bool
    proofs: list[str] = Field(default_factory=list)
    not_proved: list[str] = Field(default_factory=list)


class CompileRecord(Record):
    """A compiled model: its sizes, its graph, the memory of a search, and whether parity held."""

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
