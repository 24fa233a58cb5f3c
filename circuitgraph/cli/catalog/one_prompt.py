"""One prompt of a stored circuit's search, and what the circuit's model says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuitgraph.errors import ArgumentError, check_between

if TYPE_CHECKING:
    from circuitgraph.catalog.records import CircuitRecord
    from circuitgraph.models.language_model import LanguageModel


def read_prompt(
    record: CircuitRecord, model: LanguageModel, circuit: Path, number: int
) -> dict[str, Any]:
    """Options of the format ``neuronpedia``.

    Args:
        circuit: where it is stored.
        number: of the prompt among those of the search, from 0.

    Raises:
        ArgumentError: the circuit names no task, or the search had no such prompt.
    """
    from circuitgraph.jobs.judge import load_search_task

    if record.task is None:
        raise ArgumentError("This circuit names no task, of which a prompt could be shown.")
    check_between("--prompt", number, 0, record.task.n_prompts - 1)
    task = load_search_task(model, record.task.model_dump(mode="json"))
    prompts = task.prompts(record.task.n_prompts, record.task.split)  # pyright: ignore[reportArgumentType]
    if prompts.answer is None:
        raise ArgumentError(f"The prompts of the task {task.name!r} have no answers to show.")
    ids = prompts.clean[number][prompts.mask[number]].tolist()
    answer = int(np.ravel(prompts.answer[number])[0])
    at = int(np.ravel(prompts.score_at[number])[0])
    logits = model.logits([ids])[0, at].astype(np.float64)
    odds = np.exp(logits - logits.max())
    return {
        "prompt": prompts.pairs[number].clean,
        "tokens": tuple(task.tokenizer.decode([token]) for token in ids),
        "token_ids": tuple(ids),
        "answer": task.tokenizer.decode_answer(answer),
        "answer_id": answer,
        "probability": float(odds[answer] / odds.sum()),
        "slug": f"{task.name}-{number}",
    }
