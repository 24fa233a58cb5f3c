"""The nodes and edges of one circuit, read by the methods that suit each: for its page."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from circuitgraph.analysis.head_types import THRESHOLD, TYPES, measure_types
from circuitgraph.analysis.unit_report import report_units
from circuitgraph.catalog.analysis_record import Cell, HeatmapRecord, Reading, TableRecord
from circuitgraph.engine.batch import make_inputs
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.readings.one_prompt import PromptRun, run_prompt
from circuitgraph.engine.readings.unit_directions import rank_logits
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit
from circuitgraph.graph.node import UNITS, Node
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.printable import shorten_text
from circuitgraph.tasks.prompts import Prompts

_TOP = 8  # tokens of each side
_MOST_TOKENS = 48  # of a pattern; of a longer prompt the last ones are shown
_MOST_LETTERS = 100  # of the prompt, in a title
_MOST_EDGES = 128  # of a circuit whose edges are taken out one by one


def read_circuit_nodes(
    model: LanguageModel, prompts: Prompts, circuit: Circuit
) -> dict[str, Reading]:
    """What the nodes of a circuit do, by the titles of readings.

    Types of heads; on the first prompt where heads attend, and the logits that each node raises
    and lowers; a report of each unit.

    Args:
        prompts: of the circuit's task.
    """
    nodes = [Node.parse(name) for name in circuit.nodes]
    heads = [node for node in nodes if node.kind == "head"]
    run, tokens = _run_first(model, prompts)
    text = str(prompts.pairs[0].clean)
    readings = {"on one prompt": _read_prompt(model, nodes, heads, run, tokens, text)}
    if heads and model.tokenizer is not None:
        readings |= _read_types(model, heads)
    units = [str(node) for node in nodes if node.kind in UNITS]
    if units and model.tokenizer is not None:
        readings["unit"] = report_units(model, units, prompts)
    return readings


def read_circuit_edges(
    experiment: Experiment, prompts: Prompts, circuit: Circuit
) -> Reading | None:
    """What the metric of single prompts loses when one edge is taken out of the circuit; None for a
    circuit of too many edges.

    Args:
        experiment: in the circuit's graph, over these few prompts.
    """
    kept = np.flatnonzero(circuit.mask)
    if not 0 < len(kept) <= _MOST_EDGES:
        return None
    masks = np.repeat(circuit.mask[None], len(kept) + 1, axis=0)
    masks[np.arange(1, len(masks)), kept] = False
    whole, *without = experiment.values(masks).astype(np.float64)
    rows: list[list[Cell]] = [
        [circuit.graph.edges[edge], str(pair.clean), float(loss)]
        for edge, values in zip(kept, without, strict=True)
        for pair, loss in zip(prompts.pairs, whole - values, strict=True)
    ]
    title = f"{experiment.metric.name} that single prompts lose without this edge alone"
    return Reading(tables=[TableRecord(title=title, columns=["edge", "prompt", "lost"], rows=rows)])


def _run_first(model: LanguageModel, prompts: Prompts) -> tuple[PromptRun, list[str]]:
    """The run of the first prompt, and its tokens as texts."""
    ids = prompts.clean[0][prompts.mask[0]]
    inputs = make_inputs(ids[None], np.ones((1, len(ids)), bool), prompts.score_at[:1])
    if model.tokenizer is None:
        tokens = [str(token) for token in ids]
    else:
        tokens = [model.text_tokenizer.decode([int(token)]) for token in ids]
    return run_prompt(model.transformer, inputs), tokens


def _read_prompt(
    model: LanguageModel,
    nodes: Sequence[Node],
    heads: Sequence[Node],
    run: PromptRun,
    tokens: Sequence[str],
    text: str,
) -> Reading:
    first = max(0, len(tokens) - _MOST_TOKENS)
    pictures = [
        HeatmapRecord(
            title=f"pattern of {head}",
            unit="attention",
            row_axis="query",
            column_axis="key",
            row_labels=tokens[first:],
            column_labels=tokens[first:],
            values=np.asarray(run.pattern[head.layer, head.index])[first:, first:].tolist(),
        )
        for head in heads
    ]
    table = _rank_tokens(model, nodes, run, shorten_text(text, _MOST_LETTERS))
    return Reading(tables=[table], pictures=pictures)


def _rank_tokens(
    model: LanguageModel, nodes: Sequence[Node], run: PromptRun, text: str
) -> TableRecord:
    """The logits that what each node writes raises and lowers most, if nothing else reads it."""
    named = [node for node in nodes if node.kind in ("embed", "head", "mlp")]
    parts = jnp.stack([_take_part(node, run) for node in named])
    n_top = min(_TOP, model.spec.d_vocab_out // 2)
    values, ids = map(np.asarray, rank_logits(model.transformer, parts, n_top))
    rows: list[list[Cell]] = []
    for node, own, tokens in zip(named, values, ids, strict=True):
        for rank in range(n_top):
            high, low = rank, n_top + rank
            words = [_show_answer(model, int(tokens[i])) for i in (high, low)]
            rows.append([str(node), words[0], float(own[high]), words[1], float(own[low])])
    return TableRecord(
        title=f"what it adds to the logits after {text!r}, if nothing else reads it",
        columns=["node", "raises", "by", "lowers", " by"],
        rows=rows,
    )


def _take_part(node: Node, run: PromptRun) -> jnp.ndarray:
    if node.kind == "embed":
        return run.embed
    return run.writers[node.layer, node.index if node.kind == "head" else -1]


def _show_answer(model: LanguageModel, token: int) -> str:
    return str(token) if model.tokenizer is None else model.text_tokenizer.decode_answer(token)


def _read_types(model: LanguageModel, heads: Sequence[Node]) -> dict[str, Reading]:
    """The evidence for each type; nothing where the model reads too few tokens to tell."""
    try:
        scores = measure_types(model)
    except ArgumentError:
        return {}
    rows: list[list[Cell]] = [
        [str(head), name, float(evidence), bool(evidence >= THRESHOLD)]
        for head in heads
        for name, evidence in zip(TYPES, scores.evidence[head.layer, head.index], strict=True)
    ]
    table = TableRecord(
        title="evidence that it looks where such a head looks",
        columns=["head", "type", "evidence", "named"],
        rows=rows,
    )
    return {"type": Reading(tables=[table])}
