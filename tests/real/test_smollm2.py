"""SmolLM2-135M as users meet it: proof, text, a behaviour, a search and its judgement, a claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import circuitgraph as cg
from circuitgraph.api import draw_prompts
from circuitgraph.evaluation.parity import ROUNDINGS, verify
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from tests.cli.conftest import call

_HYPOTHESIS = """
from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("a name mover", task="ioi", model={model!r})

@H.var(at=embed @ "IO")
def name(p):
    return p.token["IO"]

@H.var(at=head({layer}, {head}) @ "end", v="name", role="name mover")
def moved(name):
    return name

@H.output(at=logits @ "end")
def answer(moved):
    return moved

H.expect("accuracy", at_least=0.75)
H.expect("attention", of=head({layer}, {head}) @ "end", to="IO", at_least=0.4)
"""
_NAME_MOVER = (24, 4)  # looks at the indirect object with 0.65 of its attention, the most of all


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


def test_a_search_finds_what_other_prompts_confirm(real_model: LanguageModel, ioi: Task) -> None:
    circuit = cg.discover(real_model, ioi, algorithm="eap", n_prompts=8, n_edges=200)
    assert 100 < len(circuit) <= 200
    report = cg.evaluate(real_model, ioi, circuit, n_prompts=8)
    assert report.faithfulness is not None
    assert report.random_faithfulness is not None
    assert report.faithfulness.mean > 0.1
    assert report.random_faithfulness.high < 0.05


def test_a_hypothesis(real_model: LanguageModel, tmp_path: Path) -> None:
    layer, head = _NAME_MOVER
    path = tmp_path / "name_mover.py"
    path.write_text(_HYPOTHESIS.format(model=real_model.name, layer=layer, head=head))
    ran = call("test", path, "--prompts", 40, "-k", "expect")
    assert (ran.code, ran.err) == (0, ""), ran.out
