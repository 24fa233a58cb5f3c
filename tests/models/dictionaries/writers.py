"""One dictionary written in every layout, as the tools that the layouts come from write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from tests.models.dictionaries.oracle import N_FEATURES, N_LAYERS, WIDTH, Formula, Weights

Writer = Callable[[Path, Weights], Path]


@dataclass(frozen=True)
class Case:
    """A layout with one of its kinds: who writes it, and the formula that its own code has."""

    layout: str
    write: Writer
    formula: Formula
    n_writes: int = 1
    arguments: dict[str, Any] = field(default_factory=dict)
    reads: str | None = "blocks.1.hook_mlp_out"
    writes: str | None = None


def save_json(folder: Path, file: str, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(content))


def save_tensors(folder: Path, file: str, tensors: dict[str, np.ndarray]) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    save_file({n: np.array(t, order="C") for n, t in tensors.items()}, folder / file)


def save_torch(folder: Path, file: str, tensors: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({n: torch.tensor(np.array(t)) for n, t in tensors.items()}, folder / file)


def saelens(architecture: str, *, hook_out: str | None = None, **settings: Any) -> Writer:
    """Version 6: settings at the top, what it was trained on in ``metadata``."""

    def write(folder: Path, w: Weights) -> Path:
        metadata = {"hook_name": "blocks.1.hook_mlp_out", "sae_lens_version": "6.54.12"}
        if hook_out:
            metadata |= {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": hook_out}
        config = {
            "architecture": architecture,
            "d_in": WIDTH,
            "d_sae": N_FEATURES,
            "apply_b_dec_to_input": hook_out is None,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": metadata,
            **({"d_out": WIDTH} if hook_out else {}),
            **settings,
        }
        save_json(folder, "cfg.json", config)
        tensors = {"W_enc": w.encoder.T, "W_dec": w.decoders[0], "b_dec": w.decoder_bias}
        if architecture == "gated":
            tensors |= {"b_gate": w.encoder_bias, "r_mag": w.r_mag, "b_mag": w.mag_bias}
        else:
            tensors["b_enc"] = w.encoder_bias
        if "jumprelu" in architecture:
            tensors["threshold"] = w.threshold
        if "skip" in architecture:
            tensors["W_skip"] = w.skip
        save_tensors(folder, "sae_weights.safetensors", tensors)
        save_tensors(folder, "sparsity.safetensors", {"sparsity": np.zeros(N_FEATURES)})
        return folder

    return write


def old_saelens(folder: Path, w: Weights) -> Path:
    """Before version 6: no architecture, other names, top-k as an activation function."""
    config = {
        "d_in": WIDTH,
        "d_sae": N_FEATURES,
        "hook_point": "blocks.1.hook_mlp_out",
        "hook_point_head_index": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "normalize_activations": False,
        "lr": 0.1,
    }
    save_json(folder, "cfg.json", config)
    ones = np.ones(N_FEATURES, np.float32)
    tensors = {"W_enc": w.encoder.T, "W_dec": w.decoders[0], "b_enc": w.encoder_bias}
    tensors |= {"b_dec": w.decoder_bias, "scaling_factor": ones}
    save_tensors(folder, "sae_weights.safetensors", tensors)
    return folder


def log_threshold(folder: Path, w: Weights) -> Path:
    """What SAELens once saved of a JumpReLU dictionary."""
    saelens("jumprelu", apply_b_dec_to_input=False)(folder, w)
    tensors = {"W_enc": w.encoder.T, "W_dec": w.decoders[0], "b_enc": w.encoder_bias}
    tensors |= {"b_dec": w.decoder_bias, "log_threshold": np.log(w.threshold)}
    save_tensors(folder, "sae_weights.safetensors", tensors)
    return folder


def gemma_scope(release: str, inner: str = "layer_1/width_16k/average_l0_9") -> Writer:
    def write(folder: Path, w: Weights) -> Path:
        folder = folder / f"gemma-scope-2b-pt-{release}" / inner
        folder.mkdir(parents=True)
        factor = np.sqrt(WIDTH) if "embedding" in inner else 1.0
        arrays = {
            "W_enc": w.encoder.T * factor,
            "W_dec": w.decoders[0] / factor,
            "b_enc": w.encoder_bias,
            "b_dec": w.decoder_bias,
            "threshold": w.threshold,
        }
        np.savez(folder / "params.npz", **{n: a.astype(np.float32) for n, a in arrays.items()})
        return folder

    return write


def gemma_scope_2(hook_in: str, hook_out: str | None = None, *, skip: bool = False) -> Writer:
    def write(folder: Path, w: Weights) -> Path:
        config = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}
        config |= {"hf_hook_point_in": hook_in}
        config |= {"hf_hook_point_out": hook_out} if hook_out else {}
        save_json(folder, "config.json", config)
        tensors = {"w_enc": w.encoder.T, "w_dec": w.decoders[0], "b_enc": w.encoder_bias}
        tensors |= {"b_dec": w.decoder_bias, "threshold": w.threshold}
        tensors |= {"affine_skip_connection": w.skip.T} if skip else {}
        save_tensors(folder, "params.safetensors", tensors)
        return folder

    return write


def gemma_scope_2_clt(folder: Path, w: Weights) -> Path:
    """Layer 1 of four: its decoder has rows for all layers, layer 0's too."""
    for layer in range(N_LAYERS):
        decoder = np.full((N_FEATURES, N_LAYERS, WIDTH), 99.0, np.float32)
        if layer == 1:
            decoder[:, 1:] = w.decoders.transpose(1, 0, 2)
        tensors = {"w_enc": w.encoder.T, "w_dec": decoder, "b_enc": w.encoder_bias}
        tensors |= {"b_dec": w.decoder_bias, "threshold": w.threshold}
        save_tensors(folder, f"params_layer_{layer}.safetensors", tensors)
    return folder


def linear_layers(w: Weights, encoder: str, decoder: str) -> dict[str, np.ndarray]:
    """Two of torch's linear layers, whose weights lie [out, in]."""
    return {
        f"{encoder}.weight": w.encoder,
        f"{encoder}.bias": w.encoder_bias,
        f"{decoder}.weight": w.decoders[0].T,
        f"{decoder}.bias": w.decoder_bias,
    }


def llama_scope(folder: Path, w: Weights) -> Path:
    config = {
        "act_fn": "jumprelu",
        "d_model": WIDTH,
        "d_sae": N_FEATURES,
        "jump_relu_threshold": 0.25,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 3.0, "out": 5.0},
        "hook_point_in": "blocks.1.hook_mlp_out",
        "hook_point_out": "blocks.1.hook_mlp_out",
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
    }
    save_json(folder, "hyperparams.json", config)
    tensors = linear_layers(w, "encoder", "decoder")
    save_tensors(folder, "checkpoints/final.safetensors", tensors)
    return folder


def llama_scope_r1(folder: Path, w: Weights) -> Path:
    config = {"act_fn": "jumprelu", "d_model": WIDTH, "expansion_factor": N_FEATURES // WIDTH}
    config |= {"hook_point_in": "blocks.1.hook_mlp_out", "hook_point_out": "blocks.1.hook_mlp_out"}
    save_json(folder, "config.json", config)
    tensors = linear_layers(w, "encoder", "decoder")
    tensors["log_jumprelu_threshold"] = np.log(w.threshold)
    save_tensors(folder, "sae_weights.safetensors", tensors)
    return folder


def llamascopium(act_fn: str, hook_out: str, **settings: Any) -> Writer:
    hook_in = "blocks.1.hook_mlp_out" if hook_out.endswith("mlp_out") else "blocks.1.hook_mlp_in"
    hook_in = settings.pop("hook_in", hook_in)

    def write(folder: Path, w: Weights) -> Path:
        config = {
            "sae_type": "sae",
            "d_model": WIDTH,
            "expansion_factor": N_FEATURES / WIDTH,
            "act_fn": act_fn,
            "top_k": 3,
            "hook_point_in": hook_in,
            "hook_point_out": hook_out,
            **settings,
        }
        save_json(folder, "config.json", config)
        tensors = {"W_E": w.encoder.T, "W_D": w.decoders[0], "b_E": w.encoder_bias}
        tensors["b_D"] = w.decoder_bias
        if act_fn == "jumprelu":
            tensors["activation_function.log_jumprelu_threshold"] = np.log(w.threshold)
        norms = {hook_in: 3.0, hook_out: 3.0 if hook_in == hook_out else 5.0}
        for hook, norm in norms.items():
            tensors[f"dataset_average_activation_norm.{hook}"] = np.array(norm, np.float32)
        save_tensors(folder, "sae_weights.safetensors", tensors)
        return folder

    return write


def llamascopium_clt(folder: Path, w: Weights) -> Path:
    """Layer 1 of four: ``W_D.l`` holds the decoders of layers 0 to l, [l + 1, features, d]."""
    config = {
        "sae_type": "clt",
        "d_model": WIDTH,
        "expansion_factor": N_FEATURES / WIDTH,
        "act_fn": "jumprelu",
        "norm_activation": "inference",
        "hook_points_in": [f"blocks.{i}.hook_mlp_in" for i in range(N_LAYERS)],
        "hook_points_out": [f"blocks.{i}.hook_mlp_out" for i in range(N_LAYERS)],
    }
    save_json(folder, "config.json", config)
    stacked = {
        "W_E": w.encoder.T,
        "b_E": w.encoder_bias,
        "activation_function.log_jumprelu_threshold": np.log(w.threshold),
    }
    tensors = {
        n: np.stack([part if i == 1 else part + 7 for i in range(4)]) for n, part in stacked.items()
    }
    for target in range(N_LAYERS):
        decoder = np.full((target + 1, N_FEATURES, WIDTH), 99.0, np.float32)
        if target >= 1:
            decoder[1] = w.decoders[target - 1]
        tensors[f"W_D.{target}"] = decoder
        tensors[f"b_D.{target}"] = w.decoder_bias if target == 1 else w.decoder_bias + 7
    save_tensors(folder, "sae_weights.safetensors", tensors)
    return folder


def dictionary_learning(kind: str) -> Writer:
    def write(folder: Path, w: Weights) -> Path:
        trainer = {"dict_class": kind, "activation_dim": WIDTH, "dict_size": N_FEATURES}
        trainer |= {"layer": 1, "lm_name": "somebody/model", "k": 3}
        trainer |= {"submodule_name": "mlp_out_layer_1"}
        save_json(folder, "config.json", {"trainer": trainer, "buffer": {"ctx_len": 128}})
        tensors: dict[str, Any] = {"encoder.weight": w.encoder, "decoder.weight": w.decoders[0].T}
        if kind == "GatedAutoEncoder":
            tensors |= {"gate_bias": w.encoder_bias, "mag_bias": w.mag_bias, "r_mag": w.r_mag}
            tensors["decoder_bias"] = w.decoder_bias
        elif kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
            tensors = {"W_enc": w.encoder.T, "W_dec": w.decoders[0]}
            tensors |= {"b_enc": w.encoder_bias, "b_dec": w.decoder_bias}
        else:
            name = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
            tensors |= {"encoder.bias": w.encoder_bias, name: w.decoder_bias}
        if kind == "JumpReluAutoEncoder":
            tensors["threshold"] = w.threshold
        if "TopK" in kind:
            tensors |= {"threshold": np.float32(0.4), "k": np.int32(3)}
        if kind == "MatryoshkaBatchTopKSAE":
            tensors["group_sizes"] = np.array([4, 8])
        save_torch(folder, "ae.pt", tensors)
        return folder

    return write


def sparsify(inner: str, *, transposed: bool = False, **settings: Any) -> Writer:
    def write(folder: Path, w: Weights) -> Path:
        folder = folder / inner
        config = {"d_in": WIDTH, "num_latents": N_FEATURES, "k": 3, "normalize_decoder": True}
        save_json(folder, "cfg.json", {**config, **settings})
        decoder = w.decoders[0].T if transposed else w.decoders[0]
        tensors = {"encoder.weight": w.encoder, "encoder.bias": w.encoder_bias}
        tensors |= {"W_dec": decoder, "b_dec": w.decoder_bias}
        tensors |= {"W_skip": w.skip} if settings.get("skip_connection") else {}
        save_tensors(folder, "sae.safetensors", tensors)
        return folder

    return write


def qwen_scope(folder: Path, w: Weights) -> Path:
    tensors = {"W_enc": w.encoder, "W_dec": w.decoders[0].T, "b_enc": w.encoder_bias}
    for layer in (0, 1):
        save_torch(folder, f"layer{layer}.sae.pt", tensors | {"b_dec": w.decoder_bias + 1 - layer})
    return folder


def goodfire(folder: Path, w: Weights) -> Path:
    file = "Llama-3.1-8B-Instruct-SAE-l1.pth"
    save_torch(folder, file, linear_layers(w, "encoder_linear", "decoder_linear"))
    return folder / file


def circuit_tracer(*, activation: str | None = None, threshold: bool = False) -> Writer:
    def write(folder: Path, w: Weights) -> Path:
        lines = ["model_name: somebody/model", "model_kind: transcoder_set"]
        lines += ["feature_input_hook: mlp.hook_in", "feature_output_hook: hook_mlp_out"]
        lines += [f"activation: {activation}", "k: 3"] if activation else []
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("\n".join(lines))
        for layer in (0, 1):
            tensors = {"W_enc": w.encoder, "W_dec": w.decoders[0], "b_enc": w.encoder_bias}
            tensors |= {"b_dec": w.decoder_bias + 1 - layer, "W_skip": w.skip}
            if threshold:
                tensors["activation_function.threshold"] = w.threshold
            if activation:
                tensors["k"] = np.array(3)
            save_tensors(folder, f"layer_{layer}.safetensors", tensors)
        return folder

    return write


def circuit_tracer_clt(folder: Path, w: Weights) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "model_name: somebody/model\nmodel_kind: cross_layer_transcoder\n"
        "feature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
    )
    for layer in range(N_LAYERS):
        n = N_LAYERS - layer
        decoder = np.full((N_FEATURES, n, WIDTH), 99.0, np.float32)
        if layer == 1:
            decoder = w.decoders.transpose(1, 0, 2)
        tensors = {"W_enc": w.encoder, "b_enc": w.encoder_bias, "b_dec": w.decoder_bias}
        tensors["threshold"] = w.threshold
        named = {f"{name}_{layer}": tensor for name, tensor in tensors.items()}
        save_tensors(folder, f"W_enc_{layer}.safetensors", named)
        save_tensors(folder, f"W_dec_{layer}.safetensors", {f"W_dec_{layer}": decoder})
    return folder
