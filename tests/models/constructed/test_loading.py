"""ConstructedModel models and their tasks by name."""

from __future__ import annotations

import numpy as np
import pytest

from circuitgraph.errors import DataError, UnknownNameError
from circuitgraph.jobs.discover import discover
from circuitgraph.models.constructed.interpreter import compute_answer
from circuitgraph.models.constructed.named_programs import load_constructed, named_programs
from circuitgraph.models.constructed.truth import find_true_edges
from circuitgraph.models.constructed.vocabulary import to_sequence, to_word
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.loading import load_task
from tests.models.constructed.common import model_of_common_size


def test_by_name() -> None:
    model = load_model("constructed:reverse")
    assert (model.name, model.family, model.dtype) == (
        "constructed:reverse",
        "constructed",
        "float32",
    )
    assert model.fingerprint == load_model("constructed:reverse").fingerprint
    assert load_model("constructed:reverse", dtype="bfloat16").dtype == "bfloat16"
    assert model.tokenizer is not None
    assert model.tokenizer.encode("<bos> a d") == [0, 2, 5]
    assert model.tokenizer.encode("e") == [model.tokenizer.unknown_id]
    with pytest.raises(UnknownNameError, match="Did you mean 'reverse'"):
        load_model("constructed:revers")


def test_discover_finds_what_is_true() -> None:
    model = load_model("constructed:reverse")
    task = load_task("constructed:reverse", model)
    circuit = discover(model, task, threshold=0.01, n_prompts=20)
    assert circuit.edges == ["embed->a2.h0<v>", "a2.h0->logits"]
    assert tuple(circuit.edges) == find_true_edges(
        load_constructed(model.name), task.prompts(20).pairs
    )


@pytest.mark.parametrize("corruption", ["other-prompt", "one-token"])
@pytest.mark.parametrize("name", named_programs)
def test_tasks(name: str, corruption: str) -> None:
    """There are enough prompts for both splits; answers and distractors are the program's."""
    constructed = model_of_common_size(name)
    task = load_task(f"constructed:{name}", constructed.model, corruption=corruption)
    pairs = task.pairs(15, "discovery") + task.pairs(25, "evaluation")
    assert task.metric == "kl"
    n_right = 0
    for pair in pairs:
        clean, corrupted = to_sequence(pair.clean), to_sequence(str(pair.corrupted))
        assert pair.answer == to_word(compute_answer(constructed.program, clean))
        n_right += pair.distractor == to_word(compute_answer(constructed.program, corrupted))
        if corruption == "one-token":
            assert sum(a != b for a, b in zip(clean, corrupted, strict=True)) == 1
    assert n_right == len(pairs)
    counts = np.unique([str(pair.answer) for pair in pairs], return_counts=True)[1]
    assert counts.max() <= 0.9 * len(pairs)  # of random sequences 96 of 100 do not end in a b c


def test_tasks_of_another_model(shipped: LanguageModel) -> None:
    with pytest.raises(
        DataError, match=r"no single token for <bos>.*for the model 'constructed:reverse'"
    ):
        load_task("constructed:reverse", shipped)
    with pytest.raises(UnknownNameError, match="corruption 'one'"):
        load_task("constructed:reverse", model_of_common_size("reverse").model, corruption="one")
