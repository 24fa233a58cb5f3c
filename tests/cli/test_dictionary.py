"""``circuitgraph dictionary``: what it says of a dictionary, alone and in a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import pytest

from circuitgraph.catalog.dictionary_record import DictionariesRecord
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.saving import save_dictionary
from circuitgraph.models.language_model import LanguageModel
from tests.cli.compiled import rows
from tests.cli.conftest import Ran
from tests.models.dictionaries import writers
from tests.models.dictionaries.oracle import draw_weights


@pytest.fixture
def identity(tmp_path: Path, shipped: LanguageModel) -> Path:
    """An identity on what the heads of the shipped model's last layer add."""
    width, hook = shipped.spec.d_model, Hook("attention_output", 1)
    both = jnp.concatenate([jnp.eye(width), -jnp.eye(width)])
    spec = DictionarySpec(
        layout="saelens", activation="relu", subtracts_b_dec=False, reads=hook, writes=(hook,)
    )
    made = Dictionary(both, jnp.zeros(2 * width), both[None], jnp.zeros(width), spec)
    save_dictionary(made, tmp_path / "identity")
    return tmp_path / "identity"


def test_what_a_dictionary_is(run: Callable[..., Ran], tmp_path: Path) -> None:
    folder = writers.gemma_scope("res")(tmp_path, draw_weights())
    ran = run("dictionary", folder)
    assert (ran.code, ran.err) == (0, "")
    shown = rows(ran.out)
    assert shown.pop("nodes of a graph").startswith("no: it takes the residual stream apart")
    assert shown == {
        "dictionary": f"{folder} (gemma_scope)",
        "kind": "sparse autoencoder of google/gemma-2-2b",
        "features": "12, jump relu",
        "reads": "blocks.1.hook_resid_post, 6 numbers",
        "writes": "blocks.1.hook_resid_post, 6 numbers",
        "input": "as it is",
    }


def test_all_layers_of_a_set(run: Callable[..., Ran], tmp_path: Path) -> None:
    folder = writers.circuit_tracer_clt(tmp_path / "d", draw_weights(n_writes=3))
    out = run("dictionary", folder).out
    assert "4 dictionaries" in out
    assert "blocks.1.hook_resid_mid  blocks.1.hook_mlp_out and 2 more  jump relu   yes" in out
    record = DictionariesRecord.model_validate_json(run("dictionary", folder, "--json").out)
    assert [len(one.writes) for one in record.dictionaries] == [4, 3, 2, 1]
    assert {one.kind for one in record.dictionaries} == {"cross-layer transcoder", "transcoder"}
    assert rows(run("dictionary", folder, "--layer", 1).out)["kind"].startswith("cross-layer")


def test_how_good_it_is_in_a_model(run: Callable[..., Ran], identity: Path) -> None:
    task = ("--task", "induction", "--limit", 8)
    record = DictionariesRecord.model_validate_json(
        run("dictionary", identity, *task, "--json").out
    )
    assert record.model is not None
    assert record.task is not None
    assert (record.model.name, record.task.name, record.task.n_prompts) == (
        "induction-2l", "induction", 8
    )  # fmt: skip
    splice = record.splice
    assert splice is not None
    assert splice.answer is not None
    assert splice.answer.recovered is not None
    assert splice.answer.recovered.mean == 1
    assert splice.answer.zeros.mean > splice.answer.model.mean
    shown = rows(run("dictionary", identity, *task).out.replace("\n  ", "\n"))
    assert shown["recovered"].split() == ["1.000", "1.000", "..", "1.000"]
    assert shown["KL(model || spliced), nats"].split() == ["0.000", "0.000", "..", "0.000"]
    assert run("dictionary", identity, *task, "--quiet") == Ran(0, "", "")


def test_what_does_not_fit_is_refused(
    run: Callable[..., Ran], identity: Path, tmp_path: Path
) -> None:
    assert (
        rows(run("dictionary", identity, "--model", "induction-2l").out)["fits"] == "induction-2l"
    )
    folder = writers.saelens("standard")(tmp_path / "d", draw_weights())
    ran = run("dictionary", folder, "--model", "induction-2l")
    assert ran.code == 2
    assert "blocks.1.hook_mlp_out belongs to an MLP, and the model's layers have none" in ran.err
    assert "it reads 6 numbers at blocks.1.hook_mlp_out, where the model has" in ran.err
    assert "--limit and --bos are about prompts" in run("dictionary", folder, "--limit", 5).err
    assert "There is no folder or file 'nowhere'" in run("dictionary", "nowhere").err
