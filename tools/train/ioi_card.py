"""What the cards of both IOI models share: accuracy on unseen prompts, and the ablation table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from induction_card import format_table
from induction_report import wilson_interval
from supervised_card import measure_whole_model

from circuitgraph.engine.experiment import Experiment
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import Prompts

N_UNSEEN = 1000  # of each order of names
N_ABLATION = 500

FRONT_MATTER = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- gpt2
- indirect-object-identification
- mechanistic-interpretability
- toy-model
---
"""

EXAMPLE = """```python
import circuitgraph as cg

model = cg.load_model("{name}")
task = cg.load_task("ioi", model, seed=0)
circuit = cg.discover(model, task, threshold=0.1)
print(circuit, cg.evaluate(model, task, circuit).faithfulness)
```
"""

NATURAL = """A small GPT-2 that was trained for indirect object identification: after `Then, Mary and John went to the
store. John gave a drink to` it says `Mary`. Only the next word was asked of it, so its circuit is whatever training
found; that need not be the circuit of Wang et al. (2022). Its twin `ioi` was trained so that the circuit is known."""


def load_model_from(folder: Path, name: str) -> LanguageModel:
    """The model in a folder, by the name that it will have."""
    return replace(load_model(folder), name=name)


def format_percent(right: int, total: int) -> list[str]:
    """Right answers of all, as a share with its interval."""
    low, high = wilson_interval(right, total)
    return [f"{right} / {total}", f"{right / total:.2%}", f"{low:.2%} - {high:.2%}"]


def draw_unseen(model: LanguageModel, n: int, **arguments: Any) -> Prompts:
    """Prompts of the evaluation split, of which no training saw any."""
    return load_task("ioi", model, seed=1, **arguments).prompts(n, "evaluation")


def write_accuracy_section(model: LanguageModel) -> str:
    rows = []
    for order in ("abba", "baba"):
        prompts = draw_unseen(model, N_UNSEEN, templates=order)
        right = measure_whole_model(model, prompts, "accuracy")
        difference = measure_whole_model(model, prompts, "logit_difference").mean()
        rows.append(
            [order.upper(), *format_percent(int(right.sum()), len(right)), f"{difference:.2f}"]
        )
    header = ["order of names", "right", "accuracy", "95 % Wilson interval", "logit difference"]
    return f"""## Accuracy on unseen prompts

Prompts of the evaluation split of the task `ioi`; training saw the discovery split only. Right means that the indirect
object has the largest logit of all tokens; the difference is to the subject's.

{format_table(header, rows)}
"""


def write_ablation_section(model: LanguageModel, roles: dict[str, str] | None = None) -> str:
    """Accuracy and logit difference without each head or MLP, by its mean and by zero."""
    roles, graph, prompts = roles or {}, model.graph(), draw_unseen(model, N_ABLATION)
    names = [writer.name for writer in graph.writers[1:]]
    writers = np.arange(len(graph.writers))
    masks = graph.ends[1][None, :] != writers[:, None]
    masks[0] = True  # the embedding's row serves for the whole model
    columns = [
        Experiment(model, prompts, metric=metric, ablation=ablation, frontier=False)
        .values(masks)
        .mean(1)
        for ablation in ("mean", "zero")
        for metric in ("accuracy", "logit_difference")
    ]
    rows = []
    for i, name in enumerate(["nothing", *names]):
        mean_right, mean_difference, zero_right, zero_difference = (
            float(column[i]) for column in columns
        )
        numbers = [
            f"{mean_right:.1%}",
            f"{mean_difference:.2f}",
            f"{zero_right:.1%}",
            f"{zero_difference:.2f}",
        ]
        rows.append([name, *numbers, *([roles.get(name, "")] if roles else [])])
    header = [
        "removed",
        "mean: accuracy",
        "mean: logit diff.",
        "zero: accuracy",
        "zero: logit diff.",
    ]
    return f"""## Removing one node

{N_ABLATION} unseen prompts. All that the node writes is replaced, by its mean over all positions of the corrupted
prompts, or by zero.

{format_table([*header, *(["role"] if roles else [])], rows)}
"""


def describe_sizes(model: LanguageModel) -> str:
    """Sizes, in a sentence."""
    s = model.spec
    mlp = f"MLPs of {s.d_mlp}" if s.d_mlp else "no MLPs (stored as zeros, frozen in training)"
    return (
        f"{s.n_layers} layers, {s.n_heads} heads each, width {s.d_model}, {mlp},\n{s.n_ctx} "
        f"learned positions, untied embeddings, {s.d_vocab} words. The tokenizer has one token "
        "for each word or\npunctuation mark."
    )


def format_settings(settings: dict[str, Any], seconds: float, final_loss: float) -> str:
    numbers = ", ".join(f"`{key}` {value}" for key, value in settings.items())
    return f"""Settings: {numbers}.

Training took {seconds:.0f} s on a busy, shared 2-core CPU. Final loss (mean of the last 50 steps): {final_loss:.4f}."""


def write_reproduction(script: str, name: str, settings: dict[str, Any]) -> str:
    options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
    return f"""```
python tools/train/{script} --out catalog/models/{name} {options}
```
"""


def write_card_file(folder: Path, sections: Sequence[str]) -> None:
    """The card, as README.md."""
    path = folder / "README.md"
    path.write_text(FRONT_MATTER + "\n".join(sections), encoding="utf-8")
    path.chmod(0o644)


def write_natural_card(
    folder: Path, name: str, settings: dict[str, Any], seconds: float, final_loss: float
) -> None:
    """Measure the model in a folder and write its card there."""
    model = load_model_from(folder, name)
    training = f"""## Training

Cross-entropy of the answer, and of the next token everywhere, on prompts of the discovery split. AdamW, linear warm-up
over 100 steps, cosine to zero.
{format_settings(settings, seconds, final_loss)}

{write_reproduction("ioi.py", name, settings)}"""
    head = f"# {name}\n\n{NATURAL}\n\n{describe_sizes(model)}\n\n{EXAMPLE.format(name=name)}"
    write_card_file(
        folder, [head, write_accuracy_section(model), write_ablation_section(model), training]
    )
