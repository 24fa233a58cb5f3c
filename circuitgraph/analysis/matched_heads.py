"""Circuits of two models: heads matched by their types, and the types that each circuit has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from circuitgraph.analysis.head_types import THRESHOLD, TYPES, measure_types
from circuitgraph.analysis.heads import list_heads
from circuitgraph.analysis.universal_heads import match_heads
from circuitgraph.catalog.comparison_record import (
    CircuitPair,
    ComparedCircuit,
    MatchedHead,
    StrongestHead,
)
from circuitgraph.evaluation.circuit_overlap import judge_overlap
from circuitgraph.models.language_model import LanguageModel


@dataclass(frozen=True)
class ModelHeads:
    """The heads of a model, in order, with their evidence for each type."""

    names: list[str]
    evidence: Float[np.ndarray, "all_heads types"]

    @classmethod
    def of(cls, model: LanguageModel) -> ModelHeads:
        """Measure them on random tokens that are repeated."""
        evidence = measure_types(model).evidence
        names = [name for _, name in list_heads(evidence.shape[:2])]
        return cls(names, evidence.reshape(len(names), -1))

    def find_used(self, circuit: ComparedCircuit) -> Bool[np.ndarray, " all_heads"]:
        """Which heads a circuit has."""
        return np.isin(self.names, circuit.nodes)


def rate_types(circuit: ComparedCircuit, heads: ModelHeads) -> list[StrongestHead]:
    """For each type the circuit's strongest head, and how easily as many random heads of its model
    have one as strong; nothing for a circuit without heads.
    """
    used = np.flatnonzero(heads.find_used(circuit))
    if not len(used):
        return []
    rated = []
    for number, kind in enumerate(TYPES):
        evidence = heads.evidence[:, number]
        best = used[int(evidence[used].argmax())]
        n_as_strong = int((evidence >= evidence[best]).sum())
        rated.append(
            StrongestHead(
                circuit=circuit.name,
                type=kind,
                head=heads.names[best],
                evidence=float(evidence[best]),
                n_named=int((evidence[used] >= THRESHOLD).sum()),
                p=1 - _compute_miss(len(evidence), n_as_strong, len(used)),
            )
        )
    return rated


def _compute_miss(n_heads: int, n_wanted: int, n_drawn: int) -> float:
    """The probability that none of the wanted heads is among those drawn without replacement."""
    drawn = np.arange(n_drawn)
    return float(np.prod(np.maximum(n_heads - n_wanted - drawn, 0) / (n_heads - drawn)))


def match_circuits(
    circuits: tuple[ComparedCircuit, ComparedCircuit],
    heads: tuple[ModelHeads, ModelHeads],
    n_draws: int,
    seed: int,
) -> CircuitPair:
    """Heads in both circuits by the best match of the two models' heads, beside random matches."""
    matches = np.array(match_heads(heads[0].evidence, heads[1].evidence))  # [2, matches]
    used = [side.find_used(each) for side, each in zip(heads, circuits, strict=True)]
    n_used = [int(each.sum()) for each in used]
    in_both = used[0][matches[0]] & used[1][matches[1]]
    rng = np.random.default_rng([seed, n_draws])

    def measure_share(n_shared: int) -> float:
        either = sum(n_used) - n_shared
        return n_shared / either if either else 1.0

    drawn = []
    for _ in range(n_draws):
        shuffled = [rng.permutation(each)[: matches.shape[1]] for each in used]
        drawn.append(measure_share(int((shuffled[0] & shuffled[1]).sum())))
    n_shared = int(in_both.sum())
    return CircuitPair(
        one=circuits[0].name,
        other=circuits[1].name,
        heads=judge_overlap(n_shared, measure_share(n_shared), drawn),
        matched_heads=[
            MatchedHead(
                one=heads[0].names[one],
                other=heads[1].names[other],
                type=_name_type(heads[0].evidence[one], heads[1].evidence[other]),
            )
            for one, other in matches[:, in_both].T
        ],
    )


def _name_type(one: Float[np.ndarray, " types"], other: Float[np.ndarray, " types"]) -> str | None:
    """The type that both heads have; None if they have none in common."""
    weaker = np.minimum(one, other)
    return TYPES[int(weaker.argmax())] if weaker.max() >= THRESHOLD else None
