"""The cards of models trained on answers: accuracy on unseen prompts, and what each node does."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from induction_card import format_table
from induction_report import wilson_interval
from supervised import Run, Settings

from circuitgraph.engine.experiment import Experiment
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.base import tasks
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts

N_UNSEEN = 2000
N_ABLATION = 500

FRONT_MATTER = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- gpt2
{tags}- mechanistic-interpretability
- toy-model
---
"""

EXAMPLE = """```python
import circuitgraph as cg

model = cg.load_model("{name}")
task = cg.load_task("{task}", model, seed=0)
circuit = cg.discover(model, task)
print(circuit, cg.evaluate(model, task, circuit).faithfulness)
```
"""


@dataclass(frozen=True)
class Variant:
    """One row of the table of accuracies: a task with some of its arguments.

    Attributes:
        n: prompts of the evaluation split to ask; fewer where the task has no more.
    """

    label: str
    task: str
    arguments: dict[str, Any] = field(default_factory=dict)
    n: int = N_UNSEEN


@dataclass(frozen=True)
class Text:
    """The part of a card that is not measured: an introduction, and how the data was made."""

    intro: str
    training: str
    script: str


def draw_unseen(model: LanguageModel, variant: Variant, n: int | None = None) -> Prompts:
    """Prompts of the evaluation split, of which no training saw any."""
    return load_task(variant.task, model, seed=1, **variant.arguments).prompts(
        n or variant.n, "evaluation"
    )


def measure_whole_model(model: LanguageModel, prompts: Prompts, metric: str) -> np.ndarray:
    """The metric of each prompt for the untouched model."""
    experiment = Experiment(model, prompts, metric=metric, frontier=False)
    return experiment.values(np.ones((1, experiment.graph.n_edges), bool))[0]


def write_accuracy_section(model: LanguageModel, variants: Sequence[Variant]) -> str:
    """Right answers, logit difference and probability of right answers, of each variant."""
    rows = []
    for variant in variants:
        prompts = draw_unseen(model, variant)
        right = int(measure_whole_model(model, prompts, "accuracy").sum())
        low, high = wilson_interval(right, len(prompts))
        share = [
            f"{right} / {len(prompts)}",
            f"{right / len(prompts):.2%}",
            f"{low:.2%} - {high:.2%}",
        ]
        means = [
            measure_whole_model(model, prompts, m).mean()
            for m in ("logit_difference", "probability_difference")
        ]
        rows.append([variant.label, *share, f"{means[0]:.2f}", f"{means[1]:.4f}"])
    header = [
        "prompts",
        "right",
        "accuracy",
        "95 % Wilson interval",
        "logit difference",
        "probability difference",
    ]
    return f"""## Accuracy on unseen prompts

Prompts of the evaluation split; training saw the discovery split only. Right: the most likely of all tokens is a right
one. Logit difference: answer minus distractor. Probability difference: of all right answers together minus that of all
wrong ones (of the distractor, where the task names no others).

{format_table(header, rows)}
"""


def write_ablation_section(model: LanguageModel, tasks_of_model: Sequence[str], n: int) -> str:
    """Accuracy and metric of each task without each head or MLP (mean and zero ablation)."""
    graph = model.graph()
    masks = graph.ends[1][None, :] != np.arange(len(graph.writers))[:, None]
    masks[0] = True  # the embedding's row serves for the whole model
    parts = []
    for name in tasks_of_model:
        prompts, metric = draw_unseen(model, Variant(name, name), n), tasks[name].metric
        columns = [
            Experiment(model, prompts, metric=m, ablation=ablation, frontier=False)
            .values(masks)
            .mean(1)
            for ablation in ("mean", "zero")
            for m in ("accuracy", metric)
        ]
        nodes = ["nothing", *(writer.name for writer in graph.writers[1:])]
        rows = [
            [
                node,
                f"{columns[0][i]:.1%}",
                f"{columns[1][i]:.2f}",
                f"{columns[2][i]:.1%}",
                f"{columns[3][i]:.2f}",
            ]
            for i, node in enumerate(nodes)
        ]
        label = metric.replace("_", " ")
        header = [
            "removed",
            "mean: accuracy",
            f"mean: {label}",
            "zero: accuracy",
            f"zero: {label}",
        ]
        parts.append(
            (f"### {name}\n\n" if len(tasks_of_model) > 1 else "")
            + format_table(header, rows)
            + "\n"
        )
    return f"""## Removing one node

{n} unseen prompts. All that the node writes is replaced, by its mean over all positions of the corrupted
prompts, or by zero.

{chr(10).join(parts)}"""


def describe_sizes(model: LanguageModel) -> str:
    """Sizes, in a sentence."""
    s = model.spec
    return (
        f"{s.n_layers} layer{'s' * (s.n_layers > 1)}, {s.n_heads} heads each, width {s.d_model}, "
        f"MLPs of {s.d_mlp}, {s.n_ctx} learned positions, untied embeddings, {s.d_vocab} tokens. "
        "The tokenizer has one token for each word, number or run of signs (a year of four digits "
        "is two) and adds nothing."
    )


def write_training_section(text: Text, name: str, settings: Settings, run: Run) -> str:
    options = asdict(settings)
    numbers = ", ".join(f"`{key}` {value}" for key, value in options.items())
    flags = " ".join(
        f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in options.items()
    )
    return f"""## Training

{text.training} AdamW (decay of matrices only), linear warm-up over 100 steps, cosine to zero, gradients clipped at 1.

Settings: {numbers}.

It took {run.seconds:.0f} s on one core of a shared CPU. Final loss (mean of the last 50 steps; KL divergence from the
targets, in nats): {run.final_loss:.5f}.

```
python tools/train/{text.script} --out catalog/models/{name} {flags}
```
"""


def write_card(
    folder: Path,
    name: str,
    settings: Settings,
    run: Run,
    text: Text,
    variants: Sequence[Variant],
    n_ablation: int = N_ABLATION,
) -> None:
    """Measure the model in a folder and write its card there.

    Args:
        n_ablation: prompts of each task that the table of single nodes is made from.
    """
    model = replace(load_model(folder), name=name)
    tasks_of_model = list(dict.fromkeys(variant.task for variant in variants))
    tags = "".join(f"- {task}\n" for task in tasks_of_model)
    example = EXAMPLE.format(name=name, task=tasks_of_model[0])
    sections = [
        f"# {name}\n\n{text.intro}\n\n{describe_sizes(model)}\n\n{example}",
        write_accuracy_section(model, variants),
        write_ablation_section(model, tasks_of_model, n_ablation),
        write_training_section(text, name, settings, run),
    ]
    path = folder / "README.md"
    path.write_text(FRONT_MATTER.format(tags=tags) + "\n".join(sections), encoding="utf-8")
    path.chmod(0o644)
