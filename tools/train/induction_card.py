"""The model card of a trained induction model, from what ``induction_report`` measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from induction_report import ABLATION_LENGTH, FIRST_WORD, Head, wilson_interval


def format_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def make_length_table(m: dict[str, Any]) -> str:
    each, by_length, longer = m["each"], m["by_length"], m["longer"]
    counts = [(str(length), right, each) for length, right in by_length.items()]
    counts.append(("8 to 32", sum(by_length.values()), each * len(by_length)))
    counts.append(("33 to 64", sum(longer.values()), each * len(longer)))
    rows = []
    for label, right, total in counts:
        low, high = wilson_interval(right, total)
        rows.append(
            [label, f"{right} / {total}", f"{right / total:.2%}", f"{low:.2%} - {high:.2%}"]
        )
    return format_table(["prompt length", "right", "accuracy", "95 % Wilson interval"], rows)


def make_ablation_table(m: dict[str, Any]) -> str:
    header = [
        "removed",
        "mean: accuracy",
        "mean: logit diff.",
        "zero: accuracy",
        "zero: logit diff.",
        "role",
    ]
    pairs = [("nothing", m["intact"], m["intact"], "")]
    for head, by_mean in m["mean_ablated"].items():
        pairs.append((name_head(head), by_mean, m["zeroed"][head], m["roles"].get(head, "")))
    pairs.append(("all heads without a role", m["kept_mean"], m["kept_zero"], ""))
    rows = [
        [what, f"{mean[0]:.1%}", f"{mean[1]:.2f}", f"{zero[0]:.1%}", f"{zero[1]:.2f}", role]
        for what, mean, zero, role in pairs
    ]
    return format_table(header, rows)


def make_attention_table(m: dict[str, Any]) -> str:
    header = ["head", "t to t-1", "last A to first B", "OV norm", "role"]
    norms, given = m["ov_norms"], m["roles"]
    rows = [
        [
            name_head(head),
            f"{previous:.3f}",
            f"{answer:.3f}",
            f"{norms[head]:.1e}",
            given.get(head, ""),
        ]
        for head, (previous, answer) in m["evidence"].items()
    ]
    return format_table(header, rows)


def name_head(head: Head) -> str:
    return f"L{head[0]}H{head[1]}"


FRONT_MATTER = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
tags:
- gpt2
- attention-only
- induction-heads
- mechanistic-interpretability
- toy-model
---
"""


EXAMPLE = """```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "catalog/models/{name}"
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
ids = tokenizer("lake dog chair moon fish bread apple dog", return_tensors="pt").input_ids
print(tokenizer.decode([int(model(ids).logits[0, -1].argmax())]))  # chair
```
"""

PENALISED = """The circuit is this clean because training asked for it (the head penalty below). Without that
penalty (`--head-penalty 0`) the same behaviour is learned, shared among more heads: see
`induction-2l-natural`."""

NATURAL = """Nothing in training asked for few heads, so the behaviour may be shared among several: the tables show
how. `induction-2l` is its twin, trained with a penalty that leaves one head per layer."""

PENALTY = """
Head penalty: `head_penalty` times the effective number of heads, which is (sum n)^2 / (sum n^2)
per layer, added over layers; n is the Frobenius norm of a head's value-output product. Being a
ratio, it cannot be lowered by scaling weights. Its least value is one head per layer; which head
that is, nothing tells it.
"""


def list_heads(m: dict[str, Any], role: str) -> str:
    return (
        ", ".join(name_head(head) for head, given in m["roles"].items() if given == role) or "none"
    )


def write_introduction(title: str, m: dict[str, Any], config: Any, penalised: bool) -> str:
    return f"""# {title}

A small two-layer GPT-2 trained for one behaviour, induction: after `... A B ... A` the next word
is `B`. It is a test object for circuit analysis, not a language model.

- {config.n_layer} layers, {config.n_head} heads each, width {config.n_embd}, {config.n_positions} learned
  positions, {"tied" if config.tie_word_embeddings else "untied"} embeddings, no BOS token.
- Attention-only in effect: every MLP weight and bias is exactly zero and was frozen in training.
- Word-level tokenizer: {config.vocab_size - FIRST_WORD} common English nouns in lower case, `<pad>` and
  `<unk>`; one token per word, nothing added.
- Previous-token head(s): {list_heads(m, "previous-token")}. Induction head(s): {list_heads(m, "induction")}.

{PENALISED if penalised else NATURAL}

{EXAMPLE.format(name=title)}"""


def write_training_section(
    title: str, settings: dict[str, Any], seconds: float, final_loss: float
) -> str:
    numbers = ", ".join(f"`{key}` {value}" for key, value in settings.items())
    return f"""## Training

Data: each row of 64 words starts with 3 to 61 distinct random words; the rest is filled with short
pieces (two words or more, the row's last piece may be cut) copied from them, each from a random
place. The loss counts only where the answer is determined: the current word occurred before, and
the same word followed it each time, this time included.
{PENALTY if settings["head_penalty"] else ""}
AdamW, linear warm-up over 100 steps, cosine to zero. Settings:
{numbers}.

Wall time of training: {seconds:.0f} s on {settings["threads"]} thread(s) of a shared 2-core CPU. Final loss (mean of
the last 50 steps, without any penalty): {final_loss:.4f}.

To reproduce:

```
{format_command(title, settings)}
```
"""


def format_command(title: str, settings: dict[str, Any]) -> str:
    """Every setting is named, so that the card stays right when a default changes."""
    flags = {f"--{key.replace('_', '-')}": value for key, value in settings.items()}
    given = {flag: value for flag, value in flags.items() if value is not False}
    words = [flag if value is True else f"{flag} {value}" for flag, value in given.items()]
    start = f"python tools/train/induction_2l.py --out catalog/models/{title} \\\n    "
    return start + " ".join(words)


def write_results_section(m: dict[str, Any]) -> str:
    count = m["ablation_count"]
    return f"""## Accuracy on fresh prompts

A prompt is distinct random words in which A stands at a random place, then A again; its length
counts that last A. B may stand directly before the last A, and A may be the first word. Right
means that B has the largest logit.

{make_length_table(m)}

## Removing one head

{count} prompts of {ABLATION_LENGTH} words. A head's output is replaced at every position: by its mean
over the positions of {count} other such prompts ("mean"), or by zero. Logit diff.: the answer
minus a random other word of the prompt (never A or B). The last row removes every head without a
role at once.

{make_ablation_table(m)}

A role is given to a head that attends as its name says (over 0.5 below) and whose mean ablation
costs at least 5 points of accuracy.

## Attention

Means over the same prompts: from each token to the one before it, and from the last A to the B
after the first A. A head whose OV norm is near zero writes nothing, wherever it attends.

{make_attention_table(m)}
"""


def write_card(
    path: Path,
    title: str,
    m: dict[str, Any],
    config: Any,
    settings: dict[str, Any],
    run: tuple[float, float],
) -> None:
    """`run` is the wall time in seconds and the final loss."""
    parts = [
        FRONT_MATTER + write_introduction(title, m, config, bool(settings["head_penalty"])),
        write_results_section(m),
    ]
    path.write_text(
        "\n".join([*parts, write_training_section(title, settings, *run)]), encoding="utf-8"
    )
