"""What is saved in SAELens' layout is read back as what it was; and dictionaries of the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import jax.numpy as jnp
import numpy as np
import pytest

from circuitgraph.errors import ArgumentError, ModelError, OutputError
from circuitgraph.models.dictionaries.loading import load_dictionary
from circuitgraph.models.dictionaries.saving import save_dictionary
from tests.models.dictionaries import writers
from tests.models.dictionaries.cases import CASES
from tests.models.dictionaries.oracle import WIDTH, draw_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
X = jnp.asarray(np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32))
SAVED = [
    "saelens-gated",
    "saelens-topk",
    "saelens-layer-norm",
    "saelens-average",
    "saelens-skip",
    "gemma-scope-attention",
    "gemma-scope-transcoder",
    "sparsify",
]


@pytest.mark.parametrize("name", SAVED)
def test_what_is_saved_computes_the_same(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    dictionary = load_dictionary(case.write(tmp_path / "d", draw_weights()), **case.arguments)
    save_dictionary(dictionary, tmp_path / "new" / "saved")
    save_dictionary(dictionary, tmp_path / "new" / "saved")  # ours are replaced
    again = load_dictionary(tmp_path / "new" / "saved")
    np.testing.assert_allclose(again.encode(X), dictionary.encode(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        again.reconstruct(X), dictionary.reconstruct(X), rtol=1e-5, atol=1e-5
    )
    places = [(spec.reads, spec.writes, spec.k) for spec in (again.spec, dictionary.spec)]
    assert places[0] == places[1]


def test_what_saelens_cannot_say_is_refused(tmp_path: Path) -> None:
    for name in ("gemma-scope-2-clt", "llama-scope", "sparsify-transcoder"):
        case = CASES[name]
        path = case.write(tmp_path / name / "d", draw_weights(n_writes=case.n_writes))
        with pytest.raises(ArgumentError, match=r"SAELens has no word for this dictionary"):
            save_dictionary(load_dictionary(path, **case.arguments), tmp_path / "saved")
    foreign = writers.saelens("standard")(tmp_path / "foreign", draw_weights())
    with pytest.raises(OutputError):
        save_dictionary(load_dictionary(foreign), foreign)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one repository's files in a cache of the hub."""
    repository = tmp_path / "hub" / "models--somebody--gemma-scope-2b-pt-mlp"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize("local_only", [True, False])
def test_a_place_on_the_hub(hub: Path, tmp_path: Path, local_only: bool) -> None:
    inner = writers.gemma_scope("mlp")(tmp_path, draw_weights())
    shutil.copytree(inner, hub / "layer_1" / "width_16k" / "average_l0_9")
    name = "somebody/gemma-scope-2b-pt-mlp/layer_1/width_16k/average_l0_9"
    dictionary = load_dictionary(name, local_only=local_only)
    assert str(dictionary.spec.reads) == "blocks.1.hook_mlp_out"
    same = load_dictionary(inner)
    np.testing.assert_array_equal(dictionary.w_dec, same.w_dec)
    assert load_dictionary(f"{name}/params.npz", local_only=True).spec == dictionary.spec
    with pytest.raises(ModelError, match=r"is no dictionary in a known layout. Its files: none"):
        load_dictionary(f"{name}/deeper", local_only=True)
    with pytest.raises(ModelError, match=r"the hub did not provide it"):
        load_dictionary("somebody/else", local_only=local_only)


def test_a_set_whose_files_are_in_other_repositories(hub: Path, tmp_path: Path) -> None:
    inner = writers.gemma_scope("mlp")(tmp_path, draw_weights())
    hub.mkdir(parents=True)
    shutil.copy(inner / "params.npz", hub / "params.npz")
    folder = tmp_path / "set"
    folder.mkdir()
    lines = ["model_kind: transcoder_set", "feature_input_hook: ln2.hook_normalized"]
    lines += ["feature_output_hook: hook_mlp_out", "transcoders:"]
    lines += ["- hf://somebody/gemma-scope-2b-pt-mlp/params.npz?revision=main"] * 2
    lines += ["- ../secret.safetensors"]
    (folder / "config.yaml").write_text("\n".join(lines))
    dictionary = load_dictionary(folder, layer=1)
    assert str(dictionary.spec.reads) == "blocks.1.ln2.hook_normalized"
    np.testing.assert_array_equal(dictionary.w_dec, load_dictionary(inner).w_dec)
    with pytest.raises(ModelError, match=r"names '\.\./secret\.safetensors', which is not there"):
        load_dictionary(folder, layer=2)


def test_settings_are_saelens_own(tmp_path: Path) -> None:
    """The names that version 6 reads, in the places where it reads them."""
    case = CASES["saelens-skip"]
    save_dictionary(load_dictionary(case.write(tmp_path / "d", draw_weights())), tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "cfg.json").read_text())
    assert config == {
        "architecture": "jumprelu_skip_transcoder",
        "d_in": 6,
        "d_out": 6,
        "d_sae": 12,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "hook_name": "blocks.1.hook_mlp_in",
            "hook_name_out": "blocks.1.hook_mlp_out",
            "sae_lens_version": "6.0.0",
            "saved_by": "circuitgraph",
        },
    }
