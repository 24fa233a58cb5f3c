"""Circuits compared: over tasks in one model, and over models for one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.head_types import THRESHOLD, TYPES, measure_types
from circuitgraph.analysis.heads import list_heads
from circuitgraph.analysis.universal_heads import match_heads
from circuitgraph.catalog.comparison_record import (
    CircuitPair,
    ComparedCircuit,
    ComparisonRecord,
    MatchedHead,
    Overlap,
)
from circuitgraph.errors import ArgumentError, CircuitGraphError, check_at_least
from circuitgraph.evaluation.circuit_overlap import (
    OverlapDraws,
    judge_overlap,
    list_inner_nodes,
)
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel

N_DRAWS = 199
Evidence = Float[np.ndarray, "layers heads types"]


def compare_circuits(
    circuits: Mapping[str, Circuit],
    load: Callable[[Circuit], LanguageModel] | None = None,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> ComparisonRecord:
    """What circuits of one model share, and what circuits of one task share over models.

    Of two circuits in one graph: edges and nodes. Of two models: heads, matched by how much they
    look at previous tokens, copies and what followed copies.

    Args:
        circuits: stored circuits by the names that they shall have in the record.
        load: gives the model of a circuit; without it circuits of two models are not compared.
        n_draws: random circuits, and random matches, beside which each pair is judged.
        seed: of all draws.

    Raises:
        ArgumentError: fewer than two circuits, or a circuit that does not say its model and task.
    """
    check_at_least("the number of circuits", len(circuits), 2)
    check_at_least("n_draws", n_draws, 19)
    check_at_least("seed", seed, 0)
    described = [_describe(name, circuit) for name, circuit in circuits.items()]
    pairs = _compare_within(described, list(circuits.values()), n_draws, seed)
    if load is not None:
        pairs += _compare_models(described, list(circuits.values()), load, n_draws, seed)
    return ComparisonRecord(
        seed=seed,
        n_draws=n_draws,
        circuits=described,
        pairs=pairs,
        in_all=_find_common_nodes(described),
    )


def _describe(name: str, circuit: Circuit) -> ComparedCircuit:
    origin = circuit.provenance
    if not origin.get("model") or not origin.get("task"):
        raise ArgumentError(
            f"The circuit {name!r} does not say of what model and task it is: leave it out, or "
            "discover it anew."
        )
    return ComparedCircuit(
        name=name,
        model=origin["model"]["name"],
        task=_name_task(origin["task"]),
        n_edges=len(circuit),
        nodes=list_inner_nodes(circuit),
    )


def _name_task(record: Mapping[str, object]) -> str:
    return str(record["name"])


def _compare_within(
    described: Sequence[ComparedCircuit], circuits: Sequence[Circuit], n_draws: int, seed: int
) -> list[CircuitPair]:
    """All pairs of circuits in one graph of one model."""
    groups: dict[tuple[str, object], list[int]] = {}
    for number, circuit in enumerate(circuits):
        groups.setdefault((described[number].model, circuit.graph), []).append(number)
    pairs = []
    for members in groups.values():
        if len(members) < 2:
            continue
        draws = OverlapDraws([circuits[i] for i in members], n_draws, seed)
        for one, other in combinations(range(len(members)), 2):
            first, second = (described[members[i]] for i in (one, other))
            pairs.append(
                CircuitPair(
                    one=first.name,
                    other=second.name,
                    edges=draws.compare_edges(one, other),
                    edges_by_degree=draws.compare_by_degree(one, other),
                    nodes=draws.compare_nodes(one, other),
                    shared_nodes=[node for node in first.nodes if node in second.nodes],
                )
            )
    return pairs


def _find_common_nodes(described: Sequence[ComparedCircuit]) -> dict[str, list[str]]:
    common = {}
    for model in dict.fromkeys(each.model for each in described):
        own = [each.nodes for each in described if each.model == model]
        if len(own) > 1:
            common[model] = [node for node in own[0] if all(node in nodes for nodes in own)]
    return common


@dataclass(frozen=True)
class _ModelHeads:
    """The heads of a model, in order, with their evidence for each type."""

    names: list[str]
    evidence: Float[np.ndarray, "all_heads types"]

    @classmethod
    def of(cls, model: LanguageModel) -> _ModelHeads:
        evidence: Evidence = measure_types(model).evidence
        names = [name for _, name in list_heads(evidence.shape[:2])]
        return cls(names, evidence.reshape(len(names), -1))


def _compare_models(
    described: Sequence[ComparedCircuit],
    circuits: Sequence[Circuit],
    load: Callable[[Circuit], LanguageModel],
    n_draws: int,
    seed: int,
) -> list[CircuitPair]:
    """All pairs of circuits of one task in two models."""
    wanted = [
        (i, j)
        for i, j in combinations(range(len(circuits)), 2)
        if described[i].task == described[j].task and described[i].model != described[j].model
    ]
    known: dict[str, _ModelHeads | str] = {}
    for number in dict.fromkeys(number for pair in wanted for number in pair):
        if described[number].model not in known:
            try:
                known[described[number].model] = _ModelHeads.of(load(circuits[number]))
            except CircuitGraphError as error:
                known[described[number].model] = f"{described[number].model}: {error}"
    pairs = []
    for i, j in wanted:
        first, second = (known[described[number].model] for number in (i, j))
        if isinstance(first, str) or isinstance(second, str):
            problem = first if isinstance(first, str) else str(second)
            pairs.append(
                CircuitPair(one=described[i].name, other=described[j].name, problem=problem)
            )
        else:
            pairs.append(_match((described[i], described[j]), (first, second), n_draws, seed))
    return pairs


def _match(
    described: tuple[ComparedCircuit, ComparedCircuit],
    heads: tuple[_ModelHeads, _ModelHeads],
    n_draws: int,
    seed: int,
) -> CircuitPair:
    """Heads in both circuits by the best match of the two models' heads, beside random matches."""
    matches = np.array(match_heads(heads[0].evidence, heads[1].evidence))  # [2, matches]
    used = [np.isin(side.names, each.nodes) for side, each in zip(heads, described, strict=True)]
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
    overlap: Overlap = judge_overlap(int(in_both.sum()), measure_share(int(in_both.sum())), drawn)
    return CircuitPair(
        one=described[0].name,
        other=described[1].name,
        heads=overlap,
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
