"""Circuits compared: over tasks in one model, and over models for one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from circuitgraph.analysis.matched_heads import ModelHeads, match_circuits, rate_types
from circuitgraph.catalog.comparison_record import (
    CircuitPair,
    ComparedCircuit,
    ComparisonRecord,
    StrongestHead,
)
from circuitgraph.errors import ArgumentError, CircuitGraphError, check_at_least, check_between
from circuitgraph.evaluation.circuit_overlap import OverlapDraws, list_inner_nodes
from circuitgraph.graph.circuit import Circuit
from circuitgraph.models.language_model import LanguageModel

N_DRAWS = 199
LEAST_DRAWS, MOST_DRAWS = 19, 10**5


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
    check_between("n_draws", n_draws, LEAST_DRAWS, MOST_DRAWS)
    check_at_least("seed", seed, 0)
    described = [_describe(name, circuit) for name, circuit in circuits.items()]
    pairs = _compare_within(described, list(circuits.values()), n_draws, seed)
    types: list[StrongestHead] = []
    if load is not None:
        over_models, types = _compare_models(
            described, list(circuits.values()), load, n_draws, seed
        )
        pairs += over_models
    return ComparisonRecord(
        seed=seed,
        n_draws=n_draws,
        circuits=described,
        pairs=pairs,
        in_all=_find_common_nodes(described),
        types=types,
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
        task=origin["task"]["name"],
        n_edges=len(circuit),
        nodes=list_inner_nodes(circuit),
    )


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


def _compare_models(
    described: Sequence[ComparedCircuit],
    circuits: Sequence[Circuit],
    load: Callable[[Circuit], LanguageModel],
    n_draws: int,
    seed: int,
) -> tuple[list[CircuitPair], list[StrongestHead]]:
    """All pairs of circuits of one task in two models, and the types of their heads."""
    wanted = [
        (i, j)
        for i, j in combinations(range(len(circuits)), 2)
        if described[i].task == described[j].task and described[i].model != described[j].model
    ]
    known: dict[str, ModelHeads | str] = {}
    types: list[StrongestHead] = []
    for number in sorted({number for pair in wanted for number in pair}):
        circuit = described[number]
        if circuit.model not in known:
            try:
                known[circuit.model] = ModelHeads.of(load(circuits[number]))
            except CircuitGraphError as error:
                known[circuit.model] = f"{circuit.model}: {error}"
        heads = known[circuit.model]
        types += rate_types(circuit, heads) if isinstance(heads, ModelHeads) else []
    pairs = []
    for i, j in wanted:
        one, other = described[i], described[j]
        first, second = known[one.model], known[other.model]
        if isinstance(first, ModelHeads) and isinstance(second, ModelHeads):
            pairs.append(match_circuits((one, other), (first, second), n_draws, seed))
        else:
            problem = "; ".join(each for each in (first, second) if isinstance(each, str))
            pairs.append(CircuitPair(one=one.name, other=other.name, problem=problem))
    return pairs, types
