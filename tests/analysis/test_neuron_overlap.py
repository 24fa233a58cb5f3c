"""Neurons of a circuit beside those of comparative neuron analysis."""

from __future__ import annotations

import re
from math import comb

import pytest

import circuitgraph as cg
from circuitgraph.analysis.neuron_comparison import read_neuron_comparison
from circuitgraph.analysis.neuron_overlap import measure_neuron_overlap
from circuitgraph.errors import ArgumentError
from circuitgraph.graph.circuit import Circuit


def test_neurons_in_both_lists_are_counted_beside_chance() -> None:
    model = cg.load_model("addition")
    prompts = cg.load_task("addition", model).prompts(12)
    table = read_neuron_comparison(model, prompts, head="a0.h1", top=4).tables[0]
    listed = [str(row[0]) for row in table.rows]
    strangers = [f"m1.n{i}" for i in range(256) if f"m1.n{i}" not in listed][:2]
    chosen = [*listed[:2], *strangers]  # two of the four highest, and two others
    graph = model.graph()
    for layer in (0, 1):
        own = [int(name.split(".n")[1]) for name in chosen if name.startswith(f"m{layer}")]
        graph = graph.refine(f"m{layer}", neurons=own) if own else graph
    circuit = Circuit.of(graph, [f"{name}->logits" for name in chosen])
    overlap = measure_neuron_overlap(circuit, model, prompts, "a0.h1")
    n_neurons = 2 * (model.spec.d_mlp or 0)
    assert overlap.shared == tuple(sorted(listed[:2]))
    assert overlap.by_chance == pytest.approx(16 / n_neurons)
    # of all ways to draw 4 of n, those with at least two of the four
    ways = sum(comb(4, k) * comb(n_neurons - 4, 4 - k) for k in (2, 3, 4))
    assert overlap.probability == pytest.approx(ways / comb(n_neurons, 4), rel=1e-6)
    assert re.match("2 of 4 neurons are among the 4 that matter less without a0.h1", str(overlap))
    with pytest.raises(ArgumentError, match="search with granularity 'neuron'"):
        measure_neuron_overlap(Circuit.full(model.graph()), model, prompts)
