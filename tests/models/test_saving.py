"""Changed models, written as checkpoints: what transformers and we read back is the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from circuitgraph.errors import ModelError, OutputError
from circuitgraph.models.build import name_arrays
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.saving import save_model
from tests.checkpoints import Tiny, save_tiny
from tests.parity.cases import CASES
from tests.parity.harness import save_random

TOKENS = np.random.default_rng(0).integers(0, 40, (2, 7))


def change_part(model: LanguageModel, where: Any, value: Any) -> LanguageModel:
    return replace(model, transformer=eqx.tree_at(where, model.transformer, value))


def run_saved(folder: Path) -> np.ndarray:
    hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        return hf(torch.tensor(TOKENS)).logits.float().numpy()


def test_the_names_of_arrays_are_those_they_are_loaded_by(tiny: Tiny) -> None:
    arrays = name_arrays(tiny.ours.transformer)
    attention = tiny.ours.transformer.blocks.attention
    assert arrays["attention.k.bias"] is attention.b_k
    assert arrays["attention.o.weight"] is attention.w_o
    assert arrays["embedding.weight"] is tiny.ours.transformer.embedding


# a plain rename; q, k and v by group; rows that are skipped; experts; Conv1D with q, k and v in one
@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "opt", "mixtral", "gpt2"])
def test_every_number_comes_back(kind: str, tmp_path: Path) -> None:
    save_random(tmp_path / "old", kind, **CASES[kind])
    model = load_model(str(tmp_path / "old"))
    rng = np.random.default_rng(1)
    attention = model.transformer.blocks.attention
    noise = [
        jnp.asarray(rng.normal(0, 0.1, a.shape), a.dtype)
        for a in (attention.w_q, attention.w_k, attention.w_o)
    ]
    changed = change_part(
        model,
        lambda t: tuple(getattr(t.blocks.attention, n) for n in ("w_q", "w_k", "w_o")),
        (attention.w_q + noise[0], attention.w_k * 0.5, attention.w_o.at[0, 1].set(noise[2][0, 1])),
    )
    names = save_model(changed, tmp_path / "new")
    assert names
    assert load_model(str(tmp_path / "new")).fingerprint == changed.fingerprint
    np.testing.assert_allclose(run_saved(tmp_path / "new"), changed.logits(TOKENS), atol=2e-5)
    assert np.abs(changed.logits(TOKENS) - model.logits(TOKENS)).max() > 0.01


def test_a_rounded_checkpoint_keeps_its_precision_where_it_can(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "old", tie_word_embeddings=True)
    tiny.hf.to(torch.bfloat16).save_pretrained(tmp_path / "old")
    model = load_model(str(tmp_path / "old"))
    out = model.transformer.blocks.attention.w_o
    for name, part, dtype in (
        ("exact", out.at[1, 2].set(0.0), "bfloat16"),
        ("rounded", out.at[1, 2].multiply(1.001), "float32"),
    ):
        changed = change_part(model, lambda t: t.blocks.attention.w_o, part)
        names = save_model(changed, tmp_path / name)
        assert names == ["transformer.h.1.attn.c_proj.weight"]
        assert json.loads((tmp_path / name / "config.json").read_text())["dtype"] == dtype
        saved = load_model(str(tmp_path / name))
        assert saved.fingerprint == changed.fingerprint
        hf = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        assert str(hf.dtype) == f"torch.{dtype}"
    np.testing.assert_allclose(run_saved(tmp_path / "rounded"), changed.logits(TOKENS), atol=1e-5)


def test_shards_and_tied_tables(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "old", tie_word_embeddings=True)
    (tmp_path / "old" / "model.safetensors").unlink()
    tiny.hf.save_pretrained(tmp_path / "old", max_shard_size="20KB")
    (tmp_path / "old" / "notes.bin").write_bytes(b"nobody's")
    model = load_model(str(tmp_path / "old"))
    changed = change_part(model, lambda t: t.embedding, model.transformer.embedding * 1.5)
    assert save_model(changed, tmp_path / "new") == ["transformer.wte.weight"]
    assert len(list((tmp_path / "new").glob("*.safetensors"))) > 1
    assert not (tmp_path / "new" / "notes.bin").exists()
    assert load_model(str(tmp_path / "new")).fingerprint == changed.fingerprint
    np.testing.assert_allclose(run_saved(tmp_path / "new"), changed.logits(TOKENS), atol=1e-5)


def test_torch_files_are_written_as_safetensors(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes((tiny.folder / "config.json").read_bytes())
    torch.save(tiny.hf.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    assert save_model(load_model(str(tmp_path / "old")), tmp_path / "new") == []
    assert load_model(str(tmp_path / "new")).fingerprint == tiny.ours.fingerprint
    np.testing.assert_allclose(run_saved(tmp_path / "new"), tiny.ours.logits(TOKENS), atol=1e-5)


def test_what_is_stored_once_cannot_be_two(tmp_path: Path) -> None:
    save_random(tmp_path / "old", "gptj", **CASES["gptj"])
    model = load_model(str(tmp_path / "old"))
    norm = model.transformer.blocks.attention.norm
    assert norm is not None
    assert norm.weight is not None
    changed = change_part(model, lambda t: t.blocks.attention.norm.weight, norm.weight * 2)
    with pytest.raises(ModelError, match=r"ln_1.weight is mlp.norm.weight"):
        save_model(changed, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_layouts_and_places_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a constructed model, of which no Hugging Face"):
        save_model(load_model("constructed:reverse"), tmp_path / "new")
    with pytest.raises(ModelError, match="is a GGUF file"):
        save_model(replace(tiny.ours, location="a/b.gguf"), tmp_path / "new")
    with pytest.raises(ModelError, match="is a TransformerLens state dict"):
        save_model(replace(tiny.ours, family="transformer_lens"), tmp_path / "new")
    other = save_tiny(tmp_path / "other", n_layer=2).folder
    with pytest.raises(ModelError, match=r"is not the one that .* was read from"):
        save_model(replace(tiny.ours, location=str(other)), tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing.txt").write_text("mine")
    with pytest.raises(OutputError, match="full"):
        save_model(tiny.ours, tmp_path / "full")
