"""What a program of somebody else sees of the types.

`.ci/run` has pyright check this file against the installed package.
It is never run.
"""

from pathlib import Path
from typing import assert_type

import numpy as np

import circuitgraph as cg
from circuitgraph.catalog.records import EvaluationRecord

model = cg.load_model("induction-2l")
task = cg.load_task("induction", model, seed=0)
circuit = cg.discover(model, task, metric="kl", threshold=0.03)
assert_type(circuit, cg.Circuit)
assert_type(circuit & cg.Circuit.full(circuit.graph), cg.Circuit)
assert_type(circuit.graph, cg.Graph)
assert_type(circuit.edges, list[str])
assert_type("a0.h3->a1.h6<k>" in circuit, bool)
report = cg.evaluate(model, task, circuit)
assert_type(report, EvaluationRecord)
if report.faithfulness is not None:
    assert_type(report.faithfulness.mean, float)
logits: np.ndarray = model.logits([[5, 9, 5], [7, 2, 7]])
picture: Path = cg.render(circuit, "induction.svg")
cg.save_circuit(circuit, "runs/kl", evaluation=report)
again: cg.Circuit = cg.load_circuit("runs/kl")
analysis = cg.analyze(model, task, "logit-lens", top=5)
titles: list[str] = [table.title for table in analysis.reading.tables]


@cg.metric("mine", higher_is_better=True)
def mine(logits, targets):
    return logits[:, 0]


try:
    cg.load_model("nowhere")
except cg.CircuitGraphError as error:
    print(error)

cg.load_model(5)  # pyright: ignore[reportArgumentType]
print(circuit.no_such_name)  # pyright: ignore[reportAttributeAccessIssue]
