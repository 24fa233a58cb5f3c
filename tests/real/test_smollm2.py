"""SmolLM2-135M as users meet it: proof, text, a behaviour, a search and its judgement, a claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.catalog.files import load_record
from circuitgraph.evaluation.parity import ROUNDINGS, verify
from circuitgraph.jobs.workbench import draw_prompts
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from tests.cli.conftest import call

HOME = Path(__file__).parents[2] / "catalog" / "circuits" / "smollm2-135m-q4_1"


@pytest.fixture(scope="session")
def ioi(real_model: LanguageModel) -> Task:
    return cg.load_task("ioi", real_model, seed=0)


def test_the_graph_is_the_model(real_model: LanguageModel) -> None:
    parity = verify(real_model, n_prompts=2, n_tokens=16)
    assert parity.held
    assert parity.not_proved == []
    assert parity.rounding is not None
    assert parity.difference is not None
    assert 0 < parity.difference < ROUNDINGS * parity.rounding < 1e-4 * parity.largest_logit


def test_bos_stands_where_the_tokenizer_puts_it(real_model: LanguageModel) -> None:
    """The file says add_bos_token = false; BOS is ``<|im_start|>``, and can be asked for."""
    tokenizer = real_model.tokenizer
    assert tokenizer is not None
    assert (tokenizer.prefix, tokenizer.bos) == ((), "<|im_start|>")
    text = "The capital of France is"
    ids = tokenizer.encode(text)
    assert tokenizer.tokens(ids) == ["The", " capital", " of", " France", " is"]
    bos = tokenizer.with_bos("yes").prefix
    assert tokenizer.tokens(bos) == ["<|im_start|>"]
    by_text, by_ids, with_bos = real_model.logits([text]), *real_model.logits([ids, [*bos, *ids]])
    np.testing.assert_allclose(by_text[0], by_ids[: len(ids)], atol=1e-3)
    assert np.abs(with_bos[-1] - by_text[0, -1]).max() > 1


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [("The keys to the cabinet", " are"), ("The capital of France is", " Paris")],
)
def test_text_goes_on(real_model: LanguageModel, text: str, goes_on: str) -> None:
    best = int(real_model.logits([text])[0, -1].argmax())
    assert real_model.text_tokenizer.decode([best]) == goes_on


def test_digits_are_tokens_by_themselves(real_model: LanguageModel) -> None:
    tokenizer = real_model.text_tokenizer
    assert "|".join(tokenizer.tokens(tokenizer.encode("in 1984,"))) == "in| |1|9|8|4|,"


def test_indirect_objects_are_named(real_model: LanguageModel, ioi: Task) -> None:
    prompts = draw_prompts(ioi, "evaluation", 60)
    ids = [row[seen].tolist() for row, seen in zip(prompts.clean, prompts.mask, strict=True)]
    rows = np.arange(len(ids))
    logits = real_model.logits(ids)[rows, prompts.score_at]
    gap = logits[rows, prompts.answer] - logits[rows, prompts.distractor]
    assert (gap > 0).sum() == 60
    assert 4.5 < gap.mean() < 5.5


def test_the_strongest_edges_are_found_again(real_model: LanguageModel) -> None:
    """By exact search on eight prompts, at a threshold that leaves little: from the country through
    the first MLP and head 23.4 to the output, as in the filed circuit.
    """
    task = cg.load_task(HOME / "pairs" / "capitals.jsonl", real_model)
    circuit = cg.discover(real_model, task, threshold=2.0, n_prompts=8)
    assert {"embed->m0", "m0->a23.h4<v>", "a23.h4->logits"} <= set(circuit)
    assert len(circuit) < 46


def test_a_filed_circuit_is_worth_what_its_record_says(real_model: LanguageModel) -> None:
    path = HOME / "capitals" / "acdc-0.43"
    circuit, recorded = cg.load_circuit(path), load_record(path).evaluation
    assert recorded is not None
    task = cg.load_task(HOME / "pairs" / "capitals.jsonl", real_model)
    report = cg.evaluate(real_model, task, circuit, n_prompts=recorded.n_prompts)
    assert report.prompts_sha256 == recorded.prompts_sha256
    np.testing.assert_allclose(report.circuit.mean, recorded.circuit.mean, rtol=1e-4)
    assert report.faithfulness is not None
    assert report.random_faithfulness is not None
    assert report.faithfulness.low > 0.3 > 0.05 > report.random_faithfulness.high


def test_the_filed_hypothesis_holds(real_model: LanguageModel) -> None:
    """Where the heads of Wang et al. (2022) look, in this model."""
    del real_model
    ran = call("test", HOME / "ioi.py", "--prompts", 40, "-k", "expect")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert "7 claims: 7 held" in ran.out
