"""The card of the `ioi` model: accuracy, interchange, strictness, and its true circuit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from induction_card import format_table
from ioi_card import (
    EXAMPLE,
    describe_sizes,
    draw_unseen,
    format_percent,
    format_settings,
    load_model_from,
    write_ablation_section,
    write_accuracy_section,
    write_card_file,
    write_reproduction,
)
from ioi_interchange import draw_mask, draw_question, number_true_edges, run_groups
from ioi_program import DUPLICATE, ROLES, TRUE
from ioi_prompts import Language

from circuitgraph.catalog.files import make_circuit_record
from circuitgraph.catalog.records import TaskRecord
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.grid import Grid
from circuitgraph.evaluation.truth import compare_with_truth
from circuitgraph.graph.circuit import Circuit
from circuitgraph.jobs.discover import discover
from circuitgraph.jobs.sweep import sweep
from circuitgraph.jobs.workbench import N_DISCOVERY
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.describing import describe_model
from circuitgraph.tasks.loading import load_task

N_PAIRS = 2000
GROUPS = 10
THRESHOLDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 2.0)


@dataclass(frozen=True)
class Agreement:
    """How well the model does what the program says under some masks.

    Attributes:
        right, total: of the prompts to which the program has one answer, how many the model gives.
        distance: mean total variation distance between the two distributions, over all prompts.
    """

    right: int
    total: int
    distance: float


def measure_agreements(
    model: LanguageModel, n_pairs: int = N_PAIRS, seed: int = 1
) -> dict[str, Agreement]:
    """The agreement under each kind of mask, on pairs of unseen prompts."""
    assert model.tokenizer is not None
    rng, graph = np.random.default_rng(seed), model.graph()
    pairs = Language(model.tokenizer).draw_pairs(rng, n_pairs, "evaluation", clean_abc=0.0)
    pairs = pairs[np.arange(len(pairs.length) // GROUPS * GROUPS)]
    grid, true = Grid.of(graph), number_true_edges(graph)
    run = eqx.filter_jit(
        lambda transformer, question: jax.nn.softmax(run_groups(transformer, grid, question))
    )
    agreements = {}
    for name, masks in _make_masks(graph, true, rng):
        question = draw_question(pairs, masks, true, model.spec.d_vocab)
        answers = np.asarray(run(model.transformer, question))
        unique = question.probabilities.max(-1) > 0.99
        right = (answers.argmax(-1) == question.probabilities.argmax(-1)) & unique
        agreements[name] = Agreement(
            int(right.sum()),
            int(unique.sum()),
            float(np.abs(answers - question.probabilities).sum(-1).mean() / 2),
        )
    return agreements


def _make_masks(
    graph: Any, true: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Kinds of masks, by what is kept."""
    full = np.ones((GROUPS, graph.n_edges), bool)
    strict = np.isin(np.arange(graph.n_edges), true) & full
    yield "all edges (behaviour)", full
    yield "the true edges only (strict)", strict
    yield "the true edges and random others", strict | (rng.random(strict.shape) < 0.5)
    for edge, number in zip(TRUE, true, strict=True):
        yield f"all but `{edge}`", full & (np.arange(graph.n_edges) != number)
    yield (
        "true edges but some, and random others (interchange)",
        np.stack([draw_mask(rng, graph, true, 4) for _ in range(GROUPS)]),
    )


def write_truth(folder: Path, name: str) -> None:
    """The true edges as the record of a circuit, ``truth.json``."""
    model = load_model_from(folder, name)
    prompts = draw_unseen(model, 200)
    task = TaskRecord(
        name="ioi",
        arguments={"templates": "both", "corruption": "abc"},
        seed=1,
        split="evaluation",
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
    )
    origin = {
        "model": describe_model(model).model_dump(),
        "task": task.model_dump(),
        "ablation": "resample",
    }
    true = Circuit.of(model.graph(), TRUE)
    path = folder / "truth.json"
    path.write_text(
        make_circuit_record(Circuit(true.graph, true.mask, provenance=origin)).to_json(),
        encoding="utf-8",
    )
    path.chmod(0o644)


INTRO = """A small GPT-2 whose circuit for indirect object identification is known, because training made it so (strict
interchange-intervention training, Gupta et al. 2024, done edge by edge). After `Then, Mary and John went to the store.
John gave a drink to` it says `Mary`, by three heads with the names and the order of Wang et al. (2022):

* `{dup}`, the duplicate-token head, says at S2 whether that name stood before: a flag, not which name or where;
* `{sinh}`, the S-inhibition head, looks from the end for a flagged S2 and fetches the name that stands there;
* `{mover}`, the name mover, looks from the end at the two names of the opening, save the inhibited one, and writes
  what it sees. Where nothing is inhibited it gives both names alike.

This is simpler than GPT-2's own circuit: one head of each kind, the inhibition is by name alone (not by position as
well), and there are no induction, previous-token, backup or negative heads."""


def write_truth_section(model: LanguageModel) -> str:
    """The true edges, and what removing one edge does, a true one or another."""
    graph = model.graph()
    experiment = Experiment(model, draw_unseen(model, 200), frontier=False)
    values = experiment.values(
        np.concatenate([np.ones((1, graph.n_edges)), 1 - np.eye(graph.n_edges)]) > 0
    ).mean(1)
    full, effects, true = values[0], np.abs(values[1:] - values[0]), number_true_edges(graph)
    worst = max(set(range(graph.n_edges)) - set(true.tolist()), key=lambda edge: effects[edge])
    edges = "\n".join(f"* `{edge}`" for edge in TRUE)
    return f"""## The true circuit

{edges}

They are 8 edges, or 6 pairs of nodes, and are on file in `truth.json`, which `circuitgraph evaluate --truth` reads.
What other edges carry was replaced at random in training and must not matter, inputs of the same three heads among
them: the flag of `{DUPLICATE}`, for one, does not depend on which name its values hold. How little they matter:
removing one of them from the whole model moves the mean logit difference, {full:.2f}, by at most {effects[worst]:.2f}
(`{graph.edges[worst]}`), and removing a true one by at least {effects[true].min():.2f}.

So this is the truth under resample ablation, where a prompt and its donor have their names at the same places, and
for the task's default corruption (`abc`). Under `swap` and `names` the flag is the same in both prompts, so that the
edge that carries it makes no difference.
"""


def write_interchange_section(agreements: dict[str, Agreement]) -> str:
    rows = [
        [name, *format_percent(a.right, a.total), f"{a.distance:.4f}"]
        for name, a in agreements.items()
    ]
    header = [
        "edges that carry the clean prompt",
        "as the program says",
        "share",
        "95 % Wilson interval",
        "distance",
    ]
    return f"""## Agreement with the program

Pairs of unseen prompts (clean, donor); all other edges carry the donor. The donor has its names at the same places; its
other words, its order and, in a third of the pairs, its kind (three different names) are others. Counted where the
program has one answer; the distance is the mean total variation between what the program and the model say, over all
pairs, those with two answers included.

{format_table(header, rows)}
"""


def write_search_section(model: LanguageModel) -> str:
    """How well searches find the true circuit, on the default number of discovery prompts."""
    assert model.tokenizer is not None
    task, true = load_task("ioi", model, seed=0), Circuit.of(model.graph(), TRUE)
    rows = []
    for metric in ("logit_difference", "kl"):
        curve = sweep(model, task, THRESHOLDS, metric=metric, n_evaluation=50, absolute=False)
        scores = np.zeros(true.graph.n_edges)
        for threshold, circuit in zip(THRESHOLDS, curve.circuits, strict=True):
            scores[circuit.mask] = threshold
        exact = [
            str(t) for t, circuit in zip(THRESHOLDS, curve.circuits, strict=True) if circuit == true
        ]
        rows.append(
            [
                "acdc",
                metric,
                *_format_aurocs(true, scores),
                f"exact at {', '.join(exact)}" if exact else "",
            ]
        )
    for algorithm, metric in (
        ("eap", "logit_difference"),
        ("eap-ig-inputs", "logit_difference"),
        ("eap-ig-inputs", "kl"),
    ):
        circuit = discover(model, task, algorithm=algorithm, metric=metric)
        assert circuit.scores is not None
        rows.append([algorithm, metric, *_format_aurocs(true, circuit.scores), ""])
    return f"""## Searches against the truth

ROC AUC of the ranking of all {true.graph.n_edges} edges, and of pairs of nodes, on {N_DISCOVERY} prompts with default
settings. ACDC: an edge's score is the highest threshold at which it is kept, of
{", ".join(map(str, THRESHOLDS))}.
The graph is small and the truth is clear-cut, so that this says little of searches in large models.

{format_table(["search", "metric", "edges", "pairs of nodes", "circuit"], rows)}
"""


def _format_aurocs(true: Circuit, scores: np.ndarray) -> list[str]:
    agreement = compare_with_truth(true, true, scores)
    return [f"{level.auroc:.3f}" for level in (agreement.edges, agreement.promoted)]


def write_card(
    folder: Path, name: str, settings: dict[str, Any], seconds: float, final_loss: float
) -> None:
    """Measure the model in a folder and write its card there."""
    model = load_model_from(folder, name)
    dup, sinh, mover = ROLES
    intro = INTRO.format(dup=dup, sinh=sinh, mover=mover)
    head = f"# {name}\n\n{intro}\n\n{describe_sizes(model)}\n\n{EXAMPLE.format(name=name)}"
    training = f"""## Training

Every step draws pairs of prompts of the discovery split in {settings["groups"]} groups. A mask keeps: all edges;
the true edges and random others; some of the true edges and random others. The loss is the KL divergence from what
the program says to what the model says under that mask (behaviour, strictness and interchange; weights 1 : 3 : 4).
Adam, gradients clipped at norm 1, linear warm-up over 100 steps, cosine to zero. The three heads start with weights
in which comparing and copying names works already (`head_start` in the script); all weights but the MLPs' are trained.
{format_settings(settings, seconds, final_loss)}

{write_reproduction("ioi_siit.py", name, settings)}"""
    sections = [
        head,
        write_truth_section(model),
        write_interchange_section(measure_agreements(model)),
        write_search_section(model),
    ]
    write_card_file(
        folder,
        [*sections, write_accuracy_section(model), write_ablation_section(model, ROLES), training],
    )
