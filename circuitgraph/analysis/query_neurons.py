"""Query neurons: earlier neurons that make the value neurons of attention as large as they are."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.measuring import (
    choose_metrics,
    collect_runs,
    estimate_cell,
    estimate_metrics,
)
from circuitgraph.analysis.neuron_choice import (
    AT_ONCE,
    check_answers,
    drop_channels,
    drop_hidden,
    list_increase,
    measure_knocked_out,
    pick_highest,
    pick_random,
    score_channels,
    score_mlp_neurons,
)
from circuitgraph.analysis.neuron_names import (
    list_neuron_rows,
    name_channel,
    name_neuron,
    rank_neurons,
    read_tokens,
)
from circuitgraph.analysis.places import check_neurons
from circuitgraph.analysis.score_comparison import METRICS
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.knockouts import keep_all
from circuitgraph.engine.readings.query_neurons import Channels, run_query_neurons
from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts

_TOP = 300  # neurons of each prompt, by default

Chosen = Bool[np.ndarray, "layers batch neurons"]
Scored = Float[np.ndarray, "layers batch neurons"]


class _Neurons(NamedTuple):
    """Scores of the four kinds of neurons in each prompt, by name."""

    value_mlp: Scored
    value_attention: Scored
    query_mlp: Scored
    query_attention: Scored


@analysis(
    "query-neurons",
    source="Yu and Ananiadou 2024a, Neuron-Level Knowledge Attribution; knocking sets out is "
    "reconstructed",
    cannot_tell="what moves attention patterns: only what the chosen channels read as values is "
    "shared out, with the divisors of norms as they are.",
)
def read_query_neurons(
    model: LanguageModel,
    prompts: Prompts,
    *,
    values: int = 30,
    top: int | None = None,
    listed: int = 10,
    tokens: int = 5,
    seed: int = 0,
) -> Reading:
    """Earlier neurons by how much of what the strongest value neurons of attention read they wrote.

    The value of channel j at a key is ``<x, k>`` over the norm's divisor, k the channel's row of
    the value weights. A neuron's score is the sum over each prompt's strongest value neurons of
    attention of their importance times the neuron's share in ``<x, k>``.

    Args:
        values: how many value neurons of attention of each prompt are shared out.
        top: how many neurons of each kind are counted by layer and knocked out; by default 300, or
            a quarter of those of a smaller model.
        listed: how many query neurons to list.
        tokens: how many of the tokens that a neuron raises to show.
        seed: of random neurons.

    Raises:
        ArgumentError: experts or no MLPs, a single layer, more neurons than there are.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    check_neurons(model, "query-neurons")
    spec = model.spec
    if spec.n_layers < 2:
        raise ArgumentError("query-neurons needs layers before others: the model has one layer.")
    most = spec.n_layers * min(spec.d_mlp or 0, spec.n_heads * spec.d_head)
    few = max(1, min(_TOP, most // 4))
    top = few if top is None else check_between("top", top, 1, most)
    check_between("values", values, 1, most)
    check_between("listed", listed, 1, most)
    check_between("tokens", tokens, 1, spec.d_vocab_out)
    check_answers(model, prompts, "query-neurons")
    neurons = _score_all(model, prompts, values)
    chosen = {
        name.replace("_", " "): pick_highest(scores, top, range(spec.n_layers))
        for name, scores in neurons._asdict().items()
    }
    return Reading(
        tables=[
            _list_mlp_neurons(model, neurons.query_mlp, listed, tokens),
            _list_channels(model, neurons.query_attention, listed),
            _count_layers(chosen, top),
            _knock_sets_out(model, prompts, chosen, top, seed),
        ],
        notes=[f"Each prompt's {values} strongest value neurons of attention are shared out."],
    )


def _score_all(model: LanguageModel, prompts: Prompts, n_values: int) -> _Neurons:
    value_mlp = score_mlp_neurons(model, prompts, list_increase()).scores[0]
    by_key = score_channels(model, prompts, list_increase(), by_key=True)[0]
    queries = collect_runs(
        prompts,
        AT_ONCE,
        lambda rows: run_query_neurons(
            model.transformer,
            make_batch(prompts, rows),
            _choose_channels(by_key[:, rows], n_values),
        ),
        axis=1,
    )
    return _Neurons(value_mlp, by_key.sum(-1), *queries)


def _choose_channels(by_key: Float[np.ndarray, "layers batch neurons keys"], n: int) -> Channels:
    """Each prompt's strongest channels, key by key."""
    flat = np.moveaxis(by_key, 1, 0)  # [batch, layers, neurons, keys]
    shape, flat = flat.shape[1:], flat.reshape(len(flat), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :n]
    layers, neurons, keys = (jnp.asarray(index) for index in np.unravel_index(order, shape))
    importances = np.take_along_axis(flat, order, axis=1).astype(np.float32)
    return Channels(layers, neurons, keys, jnp.asarray(importances))


def _list_mlp_neurons(model: LanguageModel, scores: Scored, n: int, n_tokens: int) -> TableRecord:
    places = rank_neurons(scores.mean(1), n)
    rows_written = list_neuron_rows(model, places, [1.0] * len(places))
    raised = read_tokens(model, rows_written, n_tokens)
    lowered = read_tokens(model, -rows_written, n_tokens)
    rows: list[list[Cell]] = [
        [name_neuron(place), up, down, estimate_cell(scores[place[0], :, place[1]])]
        for place, up, down in zip(places, raised, lowered, strict=True)
    ]
    return TableRecord(
        title="Query neurons of MLPs: importance that they hand to value neurons (nats), means "
        "over prompts; tokens that they raise, and lower, by themselves",
        columns=["neuron", "raises", "lowers", "score"],
        rows=rows,
    )


def _list_channels(model: LanguageModel, scores: Scored, n: int) -> TableRecord:
    rows: list[list[Cell]] = [
        [name_channel(model.spec, place), estimate_cell(scores[place[0], :, place[1]])]
        for place in rank_neurons(scores.mean(1), n)
    ]
    return TableRecord(
        title="Query neurons of attention, likewise", columns=["channel", "score"], rows=rows
    )


def _count_layers(chosen: dict[str, Chosen], top: int) -> TableRecord:
    """Where the strongest neurons of each kind stand."""
    counts = {name: own.sum(2) for name, own in chosen.items()}  # [layers, batch]
    n_layers = len(next(iter(counts.values())))
    return TableRecord(
        title=f"How many of each prompt's {top} strongest neurons stand in each layer; means over "
        "prompts",
        columns=["layer", *counts],
        rows=[
            [str(layer), *(float(count[layer].mean()) for count in counts.values())]
            for layer in range(n_layers)
        ],
    )


def _knock_sets_out(
    model: LanguageModel, prompts: Prompts, chosen: dict[str, Chosen], top: int, seed: int
) -> TableRecord:
    spec, rng = model.spec, np.random.default_rng(seed)
    metrics = choose_metrics(model, prompts, METRICS)
    sets = dict(chosen)
    for name in ("mlp", "attention"):
        shape = chosen[f"value {name}"].shape
        sets[f"random {name}"] = pick_random(shape, top, range(spec.n_layers), rng)
    kept = {"nothing": keep_all(spec, len(prompts))}
    for name, own in sets.items():
        kept[name] = (drop_hidden if name.endswith("mlp") else drop_channels)(spec, own)
    rows: list[list[Cell]] = []
    for name, own in kept.items():
        values = measure_knocked_out(model, prompts, metrics, own)
        rows.append([name, *estimate_metrics(metrics, values)])
    return TableRecord(
        title=f"Without each prompt's {top} strongest neurons of a kind, at all positions: means "
        "over prompts, 95 % intervals",
        columns=["without", *(metric.name for metric in metrics)],
        rows=rows,
    )
