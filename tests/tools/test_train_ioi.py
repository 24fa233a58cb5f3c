"""The training scripts of both IOI models: what the program says, what pairs are drawn, and that
some steps help.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from circuitgraph.catalog.files import load_circuit
from circuitgraph.engine.experiment import Experiment
from circuitgraph.models.loading import load_model, shipped_models
from circuitgraph.models.tokenizer import Tokenizer
from circuitgraph.tasks.loading import load_task
from circuitgraph.tasks.prompts import assign_split

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train"


@pytest.fixture(scope="module")
def tools() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(TRAIN))
    try:
        import ioi  # pyright: ignore[reportMissingImports]  (found through sys.path)
        import ioi_interchange  # pyright: ignore[reportMissingImports]
        import ioi_program  # pyright: ignore[reportMissingImports]
        import ioi_prompts  # pyright: ignore[reportMissingImports]
        import ioi_siit  # pyright: ignore[reportMissingImports]
        import supervised  # pyright: ignore[reportMissingImports]

        yield SimpleNamespace(
            natural=ioi,
            interchange=ioi_interchange,
            program=ioi_program,
            prompts=ioi_prompts,
            siit=ioi_siit,
            supervised=supervised,
        )
    finally:
        sys.path.remove(str(TRAIN))


def said(
    tools: SimpleNamespace, clean: tuple[int, int, int], donor: tuple[int, int, int], *dropped: int
) -> dict:
    """What the program says of one pair of casts when these of the true edges carry the donor."""
    program = tools.program
    clean_people, donor_people = (
        program.People(np.array([c[:2]]), np.array([c[2]])) for c in (clean, donor)
    )
    kept = ~np.isin(np.arange(len(program.TRUE)), dropped)
    (row,) = program.compute_answer(clean_people, donor_people, kept, 10)
    return {name: float(row[name]) for name in np.flatnonzero(row)}


def test_the_program_on_one_prompt(tools: SimpleNamespace) -> None:
    assert said(tools, (1, 2, 2), (3, 4, 3)) == {1: 1.0}
    assert said(tools, (1, 2, 1), (3, 4, 3)) == {2: 1.0}
    assert said(tools, (1, 2, 5), (3, 4, 3)) == {1: 0.5, 2: 0.5}
    assert said(tools, (1, 2, 2), (3, 4, 3), *range(8)) == {4: 1.0}


@pytest.mark.parametrize("edge", range(8))
def test_every_true_edge_decides_something_under_the_tasks_corruption(
    tools: SimpleNamespace, edge: int
) -> None:
    """Three other names: whatever edge brings them, the answer is gone."""
    answer = said(tools, (1, 2, 2), (3, 4, 5), edge)
    assert answer == (
        {3: 1.0} if edge == 6 else {3: 0.5, 4: 0.5} if edge == 7 else {1: 0.5, 2: 0.5}
    )


def test_interchange_between_the_prompts(tools: SimpleNamespace) -> None:
    clean, swapped, others = (1, 2, 2), (1, 2, 1), (3, 4, 3)
    assert said(tools, clean, swapped, 2) == {1: 1.0}  # both are flagged
    assert said(tools, clean, swapped, 3) == {2: 1.0}  # the other one is fetched
    assert said(tools, clean, swapped, 4) == {2: 1.0}
    assert said(tools, clean, others, 4) == {
        1: 0.5,
        2: 0.5,
    }  # somebody is inhibited who is not there
    assert said(tools, clean, others, 5, 6) == {3: 0.5, 4: 0.5}
    assert said(tools, clean, others, 4, 5, 6) == {4: 1.0}


@pytest.mark.parametrize("split", ["discovery", "evaluation"])
def test_pairs_are_sentences_of_the_task(tools: SimpleNamespace, split: str) -> None:
    tokenizer = Tokenizer(tools.natural.build_tokenizer())
    language = tools.prompts.Language(tokenizer)
    pairs = language.draw_pairs(np.random.default_rng(0), 60, split)
    assert len(pairs.length) > 30
    for side in (pairs.clean, pairs.donor):
        for row, length, opening, giver in zip(
            side.tokens, pairs.length, *side.people, strict=True
        ):
            text = row[:length].tolist()
            assert assign_split(text) == split
            names = [token for token in text if token in language.names]
            assert names == [*opening, giver]
            assert tokenizer.decode(text[-1:]) == "to"
            assert not row[length:].any()


@pytest.fixture(scope="module")
def begun(tools: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny model before training, in a folder, and the settings of a short training."""
    settings = tools.siit.Settings(steps=30, batch=4, heads=3, width=24, pool=500, lr=1e-2)
    folder = tmp_path_factory.mktemp("siit")
    torch_model, start = tools.siit.load_start(settings, folder)
    return SimpleNamespace(settings=settings, folder=folder, torch_model=torch_model, start=start)


@pytest.mark.slow
def test_some_steps_of_interchange_training_lower_the_loss(
    tools: SimpleNamespace, begun: SimpleNamespace
) -> None:
    _, losses = tools.siit.train_model(begun.start, begun.settings)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


def test_what_is_saved_is_what_was_trained(tools: SimpleNamespace, begun: SimpleNamespace) -> None:
    changed = tools.siit.start_from_heads(begun.start.transformer, 1)
    with pytest.raises(RuntimeError, match="not the trained model"):
        tools.siit.check_files(changed, begun.folder)  # the first one still
    begun.torch_model.load_state_dict(
        tools.siit.state_dict_of(changed, begun.torch_model.state_dict())
    )
    tools.supervised.save_model(begun.torch_model, tools.natural.build_tokenizer(), begun.folder)
    tools.siit.check_files(changed, begun.folder)


def test_some_steps_of_plain_training_lower_the_loss(tools: SimpleNamespace) -> None:
    settings = tools.natural.Settings(steps=150, batch=16, pool=500, lr=1e-2)

    def losses() -> list[float]:
        return tools.natural.train_model(tools.natural.build_model(1, 2, 16, 32, 0), settings)

    found = losses()
    assert np.mean(found[-5:]) < np.mean(found[:5]) - 0.5
    assert found[:3] == losses()[:3]


def test_next_tokens_end_with_the_answer(tools: SimpleNamespace) -> None:
    people = tools.program.People(np.array([[5, 6]]), np.array([6]))
    side = tools.prompts.Side(np.array([[5, 6, 7, 6, 0]]), people)
    ignore = tools.natural.IGNORE
    assert tools.natural.make_targets(side, np.array([4])).tolist() == [[6, 7, 6, 5, ignore]]


def test_the_true_edges_alone_are_enough_in_the_shipped_model(tools: SimpleNamespace) -> None:
    model, true = load_model("ioi"), load_circuit(shipped_models()["ioi"] / "truth.json")
    assert set(true) == set(tools.program.TRUE)
    prompts = load_task("ioi", model, seed=11).prompts(200, "evaluation")
    experiment = Experiment(model, prompts, metric="accuracy", frontier=False)
    without = np.repeat(true.mask[None], len(true), axis=0)
    without[np.arange(len(true)), np.flatnonzero(true.mask)] = False
    found = experiment.values(np.concatenate([true.mask[None], without])).mean(1)
    assert found[0] > 0.97
    assert found[1:].max() < 0.7  # every one of them is needed


def test_the_shipped_weights_are_an_ordinary_checkpoint() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shipped_models()["ioi-natural"]
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(
        "Then, Mary and John went to the store. John gave a drink to", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        assert tokenizer.decode([int(model(ids).logits[0, -1].argmax())]) == "Mary"
