"""What the analyses of neurons share: prompts that they refuse, scores, and choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.measuring import collect_runs
from circuitgraph.analysis.places import choose_layers
from circuitgraph.engine.batch import check_prompts, make_batch
from circuitgraph.engine.readings.knockouts import Kept, keep_all, run_knocked_out
from circuitgraph.engine.readings.neuron_scores import INCREASE, NeuronScore, neuron_scores
from circuitgraph.engine.readings.neurons import (
    NeuronRun,
    run_attention_neurons,
    run_mlp_neurons,
)
from circuitgraph.errors import DataError
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.tasks.metrics import Metric, metrics
from circuitgraph.tasks.prompts import Prompts

AT_ONCE = 16  # prompts of one launch


class MlpNeurons(NamedTuple):
    """The neurons of all MLPs in all prompts: each score, and their values."""

    scores: Float[np.ndarray, "scores layers batch d_mlp"]
    coefficients: Float[np.ndarray, "layers batch d_mlp"]


def check_answers(model: LanguageModel, prompts: Prompts, method: str) -> None:
    """Raise `DataError` unless the model can read the prompts, and each has one answer token."""
    check_prompts(model, prompts, metrics["log_probability"])
    if prompts.n_scored != 1:
        raise DataError(
            f"{method} needs one scored position for each prompt, and these have "
            f"{prompts.n_scored}: use answers of one token."
        )


def check_several_answers(prompts: Prompts, method: str) -> None:
    """Raise `DataError` where one answer suits all prompts, so that accuracy tells nothing."""
    if prompts.answer is not None and len(np.unique(prompts.answer)) == 1:
        answer = prompts.pairs[0].answer
        raise DataError(
            f"{method} compares how many answers stay right, and the answer of all "
            f"{len(prompts)} prompts is {answer!r}: a model that always says it would be right. "
            "Use prompts with several answers, or more of them."
        )


def choose_deep_layers(spec: Spec, layers: Sequence[int] | None) -> tuple[int, ...]:
    """These layers, or the deeper half of all if None.

    Raises:
        ArgumentError: as `choose_layers`.
    """
    if layers is None:
        return tuple(range(spec.n_layers // 2, spec.n_layers))
    return choose_layers(spec, layers)


def list_increase() -> tuple[NeuronScore, ...]:
    """The log-probability increase alone."""
    return (neuron_scores[INCREASE],)


def score_mlp_neurons(
    model: LanguageModel,
    prompts: Prompts,
    scores: tuple[NeuronScore, ...],
    kept: Kept | None = None,
) -> MlpNeurons:
    """Scores of all neurons of all MLPs in each prompt; with knock-outs if wanted."""

    def run(rows: slice) -> NeuronRun:
        own = None if kept is None else _cut_kept(kept, rows)
        return run_mlp_neurons(model.transformer, make_batch(prompts, rows), scores, own)

    return MlpNeurons(*collect_runs(prompts, AT_ONCE, run, axis=-2))


def score_channels(
    model: LanguageModel,
    prompts: Prompts,
    scores: tuple[NeuronScore, ...],
    *,
    by_key: bool = False,
) -> Float[np.ndarray, "scores layers batch neurons places"]:
    """Scores of all channels of all heads in each prompt; arguments as `run_attention_neurons`."""
    return collect_runs(
        prompts,
        AT_ONCE,
        lambda rows: run_attention_neurons(
            model.transformer, make_batch(prompts, rows), scores, by_key=by_key
        ),
        axis=2,
    )


def measure_knocked_out(
    model: LanguageModel, prompts: Prompts, chosen: tuple[Metric, ...], kept: Kept
) -> Float[np.ndarray, "metrics batch"]:
    """Metrics of all prompts, each with knock-outs of its own."""
    return collect_runs(
        prompts,
        AT_ONCE,
        lambda rows: run_knocked_out(
            model.transformer, make_batch(prompts, rows), chosen, _cut_kept(kept, rows)
        ),
    )


def _cut_kept(kept: Kept, rows: slice) -> Kept:
    hidden = None if kept.hidden is None else kept.hidden[:, rows]
    return Kept(kept.z[:, :, rows], hidden)


def pick_highest(
    scores: Float[np.ndarray, "layers batch neurons"], n: int, layers: Sequence[int]
) -> Bool[np.ndarray, "layers batch neurons"]:
    """Each prompt's n neurons with the highest scores in some layers."""
    chosen = np.zeros(scores.shape, bool)
    some = np.moveaxis(scores[list(layers)], 1, 0)  # [batch, some layers, neurons]
    flat = np.argsort(-some.reshape(len(some), -1), axis=1, kind="stable")[:, :n]
    which, neurons = np.unravel_index(flat, some.shape[1:])
    chosen[np.array(layers)[which], np.arange(len(some))[:, None], neurons] = True
    return chosen


def pick_random(
    shape: tuple[int, int, int], n: int, layers: Sequence[int], rng: np.random.Generator
) -> Bool[np.ndarray, "layers batch neurons"]:
    """n random neurons of some layers for each prompt; ``shape`` as in `pick_highest`."""
    return pick_highest(rng.random(shape), n, layers)


def list_picked(
    chosen: Bool[np.ndarray, "layers batch neurons"], scores: Float[np.ndarray, "l batch neurons"]
) -> list[list[tuple[int, int]]]:
    """Layer and number of each prompt's neurons, the highest score first."""
    listed = []
    for row in range(chosen.shape[1]):
        places = np.argwhere(chosen[:, row])
        order = np.argsort(-scores[:, row][chosen[:, row]], kind="stable")
        listed.append([(int(layer), int(neuron)) for layer, neuron in places[order]])
    return listed


def drop_hidden(spec: Spec, chosen: Bool[np.ndarray, "layers batch d_mlp"]) -> Kept:
    """A run without these neurons of MLPs."""
    kept = keep_all(spec, chosen.shape[1])
    return kept._replace(hidden=1.0 - chosen.astype(np.float32))


def drop_channels(spec: Spec, chosen: Bool[np.ndarray, "layers batch neurons"]) -> Kept:
    """A run without these channels of heads."""
    n_layers, n_prompts, _ = chosen.shape
    z = 1.0 - chosen.reshape(n_layers, n_prompts, spec.n_heads, -1).astype(np.float32)
    return keep_all(spec, n_prompts)._replace(z=np.moveaxis(z, 2, 1))
