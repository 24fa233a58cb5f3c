"""Hidden interpretable shallow neurons: neurons that say something only through a later head."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.heads import name_head
from circuitgraph.analysis.measuring import collect_runs, estimate_cell
from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.analysis.neuron_choice import (
    AT_ONCE,
    check_answers,
    list_increase,
)
from circuitgraph.analysis.neuron_comparison import find_strongest_head
from circuitgraph.analysis.neuron_names import (
    list_neuron_rows,
    name_neuron,
    rank_neurons,
    read_tokens,
)
from circuitgraph.analysis.places import check_neurons
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.engine.batch import make_batch
from circuitgraph.engine.readings.through_head import run_through_head, transform_rows
from circuitgraph.errors import ArgumentError, check_between
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts


@analysis(
    "shallow-neurons",
    source="Yu and Ananiadou 2024b, Comparative Neuron Analysis; the ranking is reconstructed",
    cannot_tell="what else a neuron does: other heads and MLPs read it too, and tokens that it "
    "raises through one head, as if the model ended there, are a picture and no proof.",
)
def read_shallow_neurons(
    model: LanguageModel,
    prompts: Prompts,
    *,
    head: str | None = None,
    top: int = 10,
    tokens: int = 5,
) -> Reading:
    """Earlier neurons by what one head hands on of them: their tokens before and after its
    value-output weights.

    What a neuron adds at a key goes through the head's norm (with the divisor as it is there), its
    value and output weights, times how much the scored position looks there, summed over keys. The
    log-probability increase of that, on top of the stream before the head's layer, ranks neurons.

    Args:
        head: ``a1.h2``; by default the one without which the answer's probability falls most,
            beyond the first layer.
        top: how many neurons to list.
        tokens: how many of the tokens that a neuron raises to show.

    Raises:
        UnknownNameError: the model has no such head.
        ArgumentError: no head, or one with no MLP before it; experts, or no MLPs.
        DataError: prompts that the model cannot read, or whose answers are not one token each.
    """
    check_neurons(model, "shallow-neurons")
    spec = model.spec
    if spec.n_layers < 2:
        raise ArgumentError("shallow-neurons needs a head behind an MLP: the model has one layer.")
    asked = None if head is None else find_head(model, head)
    if asked is not None and asked.layer == 0:
        raise ArgumentError(f"head is {head!r}, in the first layer: no MLP stands before it.")
    check_between("tokens", tokens, 1, spec.d_vocab_out)
    check_answers(model, prompts, "shallow-neurons")
    layer, number = (asked.layer, asked.index) if asked else find_strongest_head(model, prompts, 1)
    check_between("top", top, 1, layer * (spec.d_mlp or 0))
    importance, values, keys = _run_prompts(model, prompts, layer, number)
    strongest = rank_neurons(importance[:layer].mean(1), top)
    signs = [float(values[place[0], :, place[1]].mean()) for place in strongest]
    own = list_neuron_rows(model, strongest, signs)
    handed = np.asarray(
        transform_rows(model.transformer, jnp.asarray(own), np.int32(layer), np.int32(number))
    )
    name = name_head((layer, number))
    rows: list[list[Cell]] = []
    for place, before, after in zip(
        strongest, read_tokens(model, own, tokens), read_tokens(model, handed, tokens), strict=True
    ):
        key = int(np.bincount(keys[place[0], :, place[1]]).argmax())
        cell = estimate_cell(importance[place[0], :, place[1]])
        rows.append([name_neuron(place), before, after, cell, key])
    return Reading(
        tables=[
            TableRecord(
                title=f"Neurons by what {name} hands on of them to the scored position: tokens "
                "that they raise by themselves and through it, and importance (nats, means)",
                columns=["neuron", "by itself", f"through {name}", "importance", "most from key"],
                rows=rows,
            )
        ]
    )


def _run_prompts(
    model: LanguageModel, prompts: Prompts, layer: int, head: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Importances, values and keys of `HandedOn`, each [layers, batch, d_mlp]."""
    numbers = np.int32(layer), np.int32(head)
    scores, values, keys = collect_runs(
        prompts,
        AT_ONCE,
        lambda rows: run_through_head(
            model.transformer, make_batch(prompts, rows), list_increase(), *numbers
        ),
        axis=-2,
    )
    return scores[0], values, keys
