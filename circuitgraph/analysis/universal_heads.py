"""Universality of heads: the same types in several models, and whether they lie at like depths."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from circuitgraph.analysis.base import analysis
from circuitgraph.analysis.head_types import THRESHOLD, TYPES, measure_types
from circuitgraph.analysis.heads import list_heads
from circuitgraph.catalog.analysis_record import Cell, Reading, TableRecord
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.evaluation.intervals import summarise_spread
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.tokenizer import Bos

_SHUFFLES = 1000
Evidence = Float[np.ndarray, "layers heads types"]


@analysis(
    "universal-heads",
    source="Olsson et al. 2022, Gurnee et al. 2024",
    cannot_tell="whether matched heads compute the same: they look alike on random tokens, and "
    "models may use such heads for different ends.",
)
def read_universal_heads(
    model: LanguageModel,
    *,
    others: tuple[str, ...],
    threshold: float = THRESHOLD,
    n_sequences: int = 32,
    top: int = 10,
    bos: Bos = "auto",
    seed: int = 0,
) -> Reading:
    """Which heads of other models are of the same type as this model's: type scores side by side,
    heads matched by them, and whether matched heads lie at like depths, beside shuffled heads.

    Args:
        others: names or folders of the other models.
        threshold: the evidence from which on a head has the name of a type, and is compared.
        n_sequences, bos: as of head-types.
        seed: of the tokens and of the shuffled heads.
        top: how many matches to show.

    Raises:
        ArgumentError: no other model.
    """
    if not others:
        raise ArgumentError("others is empty: name at least one other model.")
    check_at_least("top", top, 1)
    names = [model.name, *others]
    evidence = [
        measure_types(each, None, n_sequences, seed, bos).evidence
        for each in (model, *map(load_model, others))
    ]
    tables = [_count_types(names, evidence, threshold)]
    for name, other in zip(others, evidence[1:], strict=True):
        tables.append(_match_models((model.name, name), (evidence[0], other), threshold, top, seed))
    return Reading(
        tables=tables,
        notes=[
            "Depth: 0 is the first layer, 1 the last one. Heads are matched one to one so that "
            "their evidence of all types differs least; depth plays no part in it."
        ],
    )


def match_heads(
    first: Float[np.ndarray, "heads types"], second: Float[np.ndarray, "others types"]
) -> tuple[list[int], list[int]]:
    """One to one, so that the sum of distances is least; of the larger model some stay alone."""
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    one, other = linear_sum_assignment(distances)
    return list(map(int, one)), list(map(int, other))


def _count_types(names: list[str], evidence: list[Evidence], threshold: float) -> TableRecord:
    """How many heads of each type each model has, and how deep they lie."""
    rows: list[list[Cell]] = []
    for name, of_model in zip(names, evidence, strict=True):
        for number, kind in enumerate(TYPES):
            named = of_model[:, :, number] >= threshold
            depths = _find_depths(of_model)[named.ravel()]
            best = int(of_model[:, :, number].argmax())
            strongest = list(list_heads(of_model.shape[:2]))[best][1]
            depth = float(depths.mean()) if len(depths) else None
            score = float(of_model[:, :, number].max())
            rows.append(
                [name, kind, int(named.sum()), float(named.mean()), depth, strongest, score]
            )
    return TableRecord(
        title=f"Heads of each type, of an evidence of {threshold:g} or more",
        columns=["model", "type", "heads", "of all", "mean depth", "strongest", "evidence"],
        rows=rows,
    )


def _match_models(
    names: tuple[str, str],
    evidence: tuple[Evidence, Evidence],
    threshold: float,
    top: int,
    seed: int,
) -> TableRecord:
    """The matches of heads that have a type in one of the models; depths beside chance."""
    flat = [each.reshape(-1, len(TYPES)) for each in evidence]
    pairs = np.array(match_heads(*flat))  # [2, matches]
    strength = np.maximum(flat[0][pairs[0]].max(1), flat[1][pairs[1]].max(1))
    typed = pairs[:, strength >= threshold]
    labels = [[name for _, name in list_heads(each.shape[:2])] for each in evidence]
    depths = [_find_depths(each) for each in evidence]
    order = np.argsort(-strength, kind="stable")[: min(top, typed.shape[1])]
    rows: list[list[Cell]] = []
    for one, other in pairs[:, order].T:
        kind = TYPES[int((flat[0][one] + flat[1][other]).argmax())]
        scores = [float(flat[side][head].max()) for side, head in enumerate((one, other))]
        distance = float(abs(depths[0][one] - depths[1][other]))
        rows.append([labels[0][one], labels[1][other], kind, *scores, distance])
    apart = _compare_depths(depths, typed, seed)
    return TableRecord(
        title=f"{names[0]} and {names[1]}, heads with a type: {apart}",
        columns=["head", "is like", "type", "evidence", "its evidence", "depths apart"],
        rows=rows,
    )


def _find_depths(evidence: Evidence) -> Float[np.ndarray, " all_heads"]:
    n_layers, n_heads, _ = evidence.shape
    return np.repeat(np.arange(n_layers) / max(1, n_layers - 1), n_heads)


def _compare_depths(depths: list[np.ndarray], pairs: np.ndarray, seed: int) -> str:
    """How far matched heads lie apart, and how far heads of any depths would."""
    if not pairs.shape[1]:
        return "there are none"
    rng = np.random.default_rng(seed)
    apart = np.abs(depths[0][pairs[0]] - depths[1][pairs[1]]).mean()
    shuffled = [
        np.abs(depths[0][pairs[0]] - rng.choice(depths[1], pairs.shape[1], replace=False)).mean()
        for _ in range(_SHUFFLES)
    ]
    chance = summarise_spread(shuffled)
    return (
        f"depths {apart:.2f} apart, of heads drawn at random {chance.mean:.2f} "
        f"[{chance.low:.2f}, {chance.high:.2f}]"
    )
