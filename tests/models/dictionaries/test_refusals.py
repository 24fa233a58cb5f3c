"""Dictionaries that cannot be read as they are meant are refused, by what is wrong with them."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgraph.errors import ArgumentError, CircuitGraphError, ModelError
from circuitgraph.models.dictionaries.hooks import parse_hook
from circuitgraph.models.dictionaries.loading import (
    load_dictionary,
    open_dictionaries,
    open_dictionary,
)
from tests.models.dictionaries import writers
from tests.models.dictionaries.oracle import N_FEATURES, WIDTH, draw_weights

WEIGHTS = draw_weights()


def refusal(path: Path | str, **arguments: Any) -> str:
    with pytest.raises(CircuitGraphError) as caught:
        load_dictionary(path, **arguments)
    return str(caught.value)


def change(file: Path, **settings: Any) -> None:
    content = json.loads(file.read_text())
    inner = content.get("trainer", content)
    inner.update(settings)
    file.write_text(json.dumps(content))


SAE, TOP_K = writers.saelens("standard"), writers.saelens("topk")
SCOPIUM = writers.llamascopium("relu", "blocks.1.hook_mlp_out")
GEMMA = writers.gemma_scope_2("model.layers.1.output")
LEARNED, LEARNED_K = map(writers.dictionary_learning, ("AutoEncoder", "AutoEncoderTopK"))
AVERAGE = "dataset_average_activation_norm"
SUPPORTED = "architecture = 'temporal' in cfg.json .* is not supported. Supported: standard, gated"
REFUSED = [
    (SAE, {"architecture": "temporal"}, SUPPORTED),
    (SAE, {"architecture": "matryoshka_batchtopk"}, "architecture = 'matryoshka_batchtopk'"),
    (SAE, {"activation_fn": "tanh-relu"}, "activation_fn = 'tanh-relu'"),
    (SAE, {"normalize_activations": "covariance_whitening"}, "= 'covariance_whitening'"),
    (SAE, {"normalize_activations": "expected_average_only_in"}, "not hold that number. Give it"),
    (SAE, {"hook_head_index": 3}, "hook_head_index = 3"),
    (SAE, {"hook_name": "blocks.1.attn.hook_q"}, "'blocks.1.attn.hook_q' is none that is known"),
    (SAE, {"hook_name": 3}, "hook_name is 3, but must be a word"),
    (SAE, {"d_in": "six"}, "d_in is 'six', but must be a whole number"),
    (TOP_K, {}, "does not say 'k'"),
    (writers.llama_scope, {"act_fn": "relu"}, "act_fn = 'relu'"),
    (writers.llama_scope, {AVERAGE: {"in": 0.0}}, f"{AVERAGE} of in is 0.0"),
    (writers.llama_scope_r1, {}, f"{AVERAGE} of blocks.1.hook_mlp_out is None"),
    (SCOPIUM, {"sae_type": "lorsa"}, "sae_type = 'lorsa'"),
    (SCOPIUM, {"act_fn": "batchtopk"}, "act_fn = 'batchtopk'"),
    (SCOPIUM, {"use_glu_encoder": True}, "use_glu_encoder = True"),
    (SCOPIUM, {"norm_activation": "batch-wise"}, "norm_activation = 'batch-wise'"),
    (GEMMA, {"architecture": "relu"}, "architecture = 'relu'"),
    (LEARNED, {"dict_class": "CrossCoder"}, "dict_class = 'CrossCoder'"),
    (LEARNED_K, {"k": 4}, "says k = 4, but its weights 3"),
]


@pytest.mark.parametrize(("write", "settings", "message"), REFUSED)
def test_settings_that_nothing_here_computes_are_named(
    write: writers.Writer, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "d", WEIGHTS)
    change(next(folder.glob("*.json")), **settings)
    with pytest.raises(ModelError, match=message):
        load_dictionary(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_sae": 1000}, "W_enc has 12 features, but cfg.json: 1,000"),
        ({"d_in": 7}, "W_enc has 6 input width, but cfg.json: 7"),
        ({"d_sae": 10**30}, "d_sae = 1e+30; no model has more than"),
        ({"architecture": "topk", "k": 13}, "k = 13, but there are 12 features"),
        ({"architecture": "topk", "k": 0}, "k = 0, but there are 12 features"),
        ({"architecture": "jumprelu"}, "there is no tensor threshold"),
        ({"architecture": "gated"}, "there is no tensor b_gate"),
    ],
)
def test_sizes_are_held_against_the_file(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = writers.saelens("standard")(tmp_path / "d", WEIGHTS)
    change(folder / "cfg.json", **settings)
    assert message in refusal(folder)


def test_other_damage_to_tensors(tmp_path: Path) -> None:
    folder = writers.saelens("standard")(tmp_path / "d", WEIGHTS)
    tensors = {"W_enc": WEIGHTS.encoder.T, "W_dec": WEIGHTS.decoders[0]}
    tensors |= {"b_enc": WEIGHTS.encoder_bias, "b_dec": WEIGHTS.decoder_bias}
    file = "sae_weights.safetensors"
    writers.save_tensors(folder, file, tensors | {"W_glu": WEIGHTS.encoder})
    assert "holds tensors that nothing here reads:\n  - W_glu" in refusal(folder)
    writers.save_tensors(folder, file, tensors | {"scaling_factor": np.full(N_FEATURES, 2.0)})
    assert "has a scaling_factor for each feature" in refusal(folder)
    writers.save_tensors(folder, file, tensors | {"b_dec": np.zeros((2, WIDTH))})
    assert "b_dec has the shape [2, 6]" in refusal(folder)
    writers.save_tensors(folder, file, tensors | {"b_dec": np.zeros(5)})
    assert "b_dec has 5 output width, but cfg.json: 6" in refusal(folder)
    (folder / file).write_bytes((folder / file).read_bytes()[:-8])
    assert "is truncated or is no safetensors file" in refusal(folder)


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (Path.touch, (Path("pickle-ran"),))  # pyright: ignore[reportReturnType]


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = writers.dictionary_learning("AutoEncoder")(tmp_path / "torch", WEIGHTS)
    torch.save({"encoder.weight": Bomb()}, folder / "ae.pt")
    assert "would run code when read" in refusal(folder)
    folder = writers.gemma_scope("res")(tmp_path / "numpy", WEIGHTS)
    np.savez(folder / "params.npz", W_enc=np.array([Bomb()], dtype=object))
    assert "W_enc holds Python objects, which are not unpickled" in refusal(folder)
    assert not Path("pickle-ran").exists()


def test_archives_that_promise_more_than_they_hold(tmp_path: Path) -> None:
    folder = writers.gemma_scope("res")(tmp_path / "d", WEIGHTS)
    file = folder / "params.npz"
    np.savez_compressed(file, W_enc=np.zeros((1000, 1000)))
    assert "is a packed archive" in refusal(folder)
    header = np.lib.format.magic(
        1, 0
    ) + b"v\0{'descr':'<f4','fortran_order':False,'shape':(9999999999,)}".ljust(120)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("W_enc.npy", header)
    assert "W_enc has the shape [9999999999] of float32, but" in refusal(folder)
    file.write_bytes(b"no archive")
    assert "cannot be read as an .npz archive" in refusal(folder)


def test_unknown_and_ambiguous_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "model.safetensors").write_text("")
    message = refusal(tmp_path / "empty")
    assert "is no dictionary in a known layout. Its files: model.safetensors. Known:" in message
    assert "saelens: cfg.json and sae_weights.safetensors" in message
    both = writers.saelens("standard")(tmp_path / "both", WEIGHTS)
    writers.dictionary_learning("AutoEncoder")(both, WEIGHTS)
    message = refusal(both)
    assert "is in several layouts: name one of its files" in message
    assert "dictionary_learning" in message
    assert load_dictionary(both / "ae.pt").spec.layout == "dictionary_learning"
    assert "There is no folder or file 'nowhere'" in refusal("nowhere")
    assert "There is no folder or file '../a/b'" in refusal("../a/b")


def test_arguments_that_files_say_themselves_are_refused(tmp_path: Path) -> None:
    folder = writers.saelens("standard")(tmp_path / "d", WEIGHTS)
    assert "k is 3, but the files" in refusal(folder, k=3)
    assert "input_scale is 2.0, but" in refusal(folder, input_scale=2.0)
    assert "says itself that it reads blocks.1.hook_mlp_out" in refusal(folder, hook="hook_embed")
    assert "layer is 2, but" in refusal(folder, layer=2)
    assert "Unknown dtype" in refusal(folder, dtype="int8")
    with pytest.raises(ArgumentError, match=r"There is no feature 12: .* has features 0 to 11"):
        open_dictionary(folder).read_decoder_rows([3, 12])


def test_a_dictionary_without_a_place_takes_one(tmp_path: Path) -> None:
    file = writers.goodfire(tmp_path / "d", WEIGHTS)
    nameless = shutil.copy(file, tmp_path / "sae.pt")
    dictionary = load_dictionary(nameless)
    assert (dictionary.spec.reads, dictionary.spec.writes) == (None, ())
    placed = load_dictionary(
        nameless, hook="blocks.4.hook_mlp_in", hook_out="blocks.4.hook_mlp_out"
    )
    assert placed.spec.kind == "transcoder"
    assert placed.spec.can_be_nodes
    assert "hook_out was given without hook" in refusal(nameless, hook_out="hook_embed")


def test_members_are_chosen_by_their_layer(tmp_path: Path) -> None:
    folder = writers.circuit_tracer_clt(tmp_path / "d", draw_weights(n_writes=3))
    assert "layers 0, 1, 2, 3: give one with layer, instead of None" in refusal(folder)
    assert "instead of 4" in refusal(folder, layer=4)
    members = open_dictionaries(folder)
    assert [len(member.spec.writes) for member in members] == [4, 3, 2, 1]
    (folder / "W_enc_3.safetensors").unlink()
    assert "features of layer 1 of 3 write to 2 layers" in refusal(folder, layer=1)


def test_qwen_scopes_name_says_what_its_files_do_not(tmp_path: Path) -> None:
    writers.qwen_scope(tmp_path / "plain", WEIGHTS)
    assert "Give it: k." in refusal(tmp_path / "plain" / "layer1.sae.pt")
    folder = tmp_path / "SAE-Res-Qwen3-1.7B-Base-W1K-L0_5"
    writers.qwen_scope(folder, WEIGHTS)
    assert "W_enc has 12 features, but the name: 1,024" in refusal(folder, layer=1)
    rng = np.random.default_rng(0)
    tensors = {"W_enc": rng.normal(size=(1024, WIDTH)), "W_dec": rng.normal(size=(WIDTH, 1024))}
    tensors |= {"b_enc": np.zeros(1024), "b_dec": np.zeros(WIDTH)}
    writers.save_torch(folder, "layer1.sae.pt", tensors)
    spec = load_dictionary(folder, layer=1).spec
    assert (spec.k, spec.model_name) == (5, "Qwen/Qwen3-1.7B-Base")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "it holds an alias"),
        ("model_kind: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: [", "cannot be read"),
        ("- 1", "holds no settings, but a list"),
    ],
)
def test_yaml_that_is_no_table_of_settings(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "place", "layer"),
    [
        ("model.layers.12", "resid_post", 12),
        ("gpt_neox.layers.3.mlp", "raw_mlp_output", 3),
        ("layers.3.attention", "raw_attention_output", 3),
        ("transformer.h.7.attn.c_proj.input", "z", 7),
        ("blocks.0.ln2.hook_normalized", "mlp_normalised", 0),
        ("model.layers.2.post_feedforward_layernorm.output", "mlp_output", 2),
        ("blocks.1.mlp.hook_out", "raw_mlp_output", 1),
        ("model.embed_tokens", "embed", 0),
    ],
)
def test_names_of_places(name: str, place: str, layer: int) -> None:
    hook = parse_hook(name)
    assert (hook.place, hook.layer) == (place, layer)
    assert parse_hook(str(hook)) == hook
