"""Every layout with each of its kinds, and the formula by which its own code computes it."""

from __future__ import annotations

from tests.models.dictionaries import writers as w
from tests.models.dictionaries.oracle import WIDTH, Formula
from tests.models.dictionaries.writers import Case

MLP_IN, MLP_OUT = "blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"
NORMED, Z, STREAM = "blocks.1.mlp.hook_in", "blocks.1.attn.hook_z", "blocks.1.hook_resid_post"
IN, OUT = WIDTH**0.5 / 3.0, WIDTH**0.5 / 5.0
SAE = Formula(subtract=True)
JUMP = Formula("jump")
SKIP = Formula(skip=True)
PRE, POST = (f"model.layers.1.{end}_feedforward_layernorm.output" for end in ("pre", "post"))

CASES = {
    "saelens": Case("saelens", w.saelens("standard"), SAE),
    "saelens-gated": Case("saelens", w.saelens("gated"), Formula("gated", subtract=True)),
    "saelens-jumprelu": Case("saelens", w.saelens("jumprelu"), Formula("jump", subtract=True)),
    "saelens-topk": Case(
        "saelens",
        w.saelens("topk", k=3, rescale_acts_by_decoder_norm=True),
        Formula("top", subtract=True, by_decoder="features"),
    ),
    "saelens-norm": Case(
        "saelens",
        w.saelens("standard", normalize_activations="constant_norm_rescale"),
        Formula(subtract=True, normalise="norm"),
    ),
    "saelens-layer-norm": Case(
        "saelens",
        w.saelens("standard", normalize_activations="layer_norm"),
        Formula(subtract=True, normalise="layer"),
    ),
    "saelens-average": Case(
        "saelens",
        w.saelens("standard", normalize_activations="expected_average_only_in"),
        Formula(subtract=True, scale_in=IN, scale_out=IN),
        arguments={"input_scale": IN},
    ),
    "saelens-transcoder": Case(
        "saelens",
        w.saelens("transcoder", hook_out=MLP_OUT),
        Formula(),
        reads=MLP_IN,
        writes=MLP_OUT,
    ),
    "saelens-skip": Case(
        "saelens",
        w.saelens("jumprelu_skip_transcoder", hook_out=MLP_OUT),
        Formula("jump", skip=True),
        reads=MLP_IN,
        writes=MLP_OUT,
    ),
    "saelens-old": Case("saelens", w.old_saelens, Formula("top", subtract=True)),
    "saelens-log-threshold": Case("saelens", w.log_threshold, JUMP),
    "gemma-scope": Case("gemma_scope", w.gemma_scope("mlp"), JUMP),
    "gemma-scope-attention": Case("gemma_scope", w.gemma_scope("att"), JUMP, reads=Z),
    "gemma-scope-embedding": Case(
        "gemma_scope",
        w.gemma_scope("res", "embedding/width_4k/average_l0_6"),
        JUMP,
        reads="hook_embed",
    ),
    "gemma-scope-transcoder": Case(
        "gemma_scope",
        w.gemma_scope("transcoders"),
        JUMP,
        reads="blocks.1.ln2.hook_normalized",
        writes=MLP_OUT,
    ),
    "gemma-scope-2": Case(
        "gemma_scope_2", w.gemma_scope_2("model.layers.1.output"), JUMP, reads=STREAM
    ),
    "gemma-scope-2-skip": Case(
        "gemma_scope_2",
        w.gemma_scope_2(PRE, POST, skip=True),
        Formula("jump", skip=True),
        reads=NORMED,
        writes=MLP_OUT,
    ),
    "gemma-scope-2-clt": Case(
        "gemma_scope_2", w.gemma_scope_2_clt, JUMP, 3, {"layer": 1}, NORMED, MLP_OUT
    ),
    "llama-scope": Case(
        "llama_scope",
        w.llama_scope,
        Formula("jump", threshold=0.25 * IN, scale_in=IN, scale_out=OUT, by_decoder="choice"),
    ),
    "llama-scope-r1": Case(
        "llama_scope_r1",
        w.llama_scope_r1,
        Formula("jump", scale_in=IN, scale_out=IN),
        arguments={"input_scale": IN},
    ),
    "llamascopium": Case(
        "llamascopium",
        w.llamascopium("jumprelu", MLP_OUT),
        Formula("jump", scale_in=IN, scale_out=IN, by_decoder="choice"),
    ),
    "llamascopium-token": Case(
        "llamascopium",
        w.llamascopium(
            "topk", MLP_OUT, norm_activation="token-wise", sparsity_include_decoder_norm=False
        ),
        Formula("top", normalise="norm"),
    ),
    "llamascopium-transcoder": Case(
        "llamascopium",
        w.llamascopium("relu", MLP_OUT, hook_in=MLP_IN),
        Formula(scale_in=IN, scale_out=OUT, by_decoder="choice"),
        reads=MLP_IN,
        writes=MLP_OUT,
    ),
    "llamascopium-clt": Case(
        "llamascopium",
        w.llamascopium_clt,
        Formula("jump", by_decoder="choice"),
        3,
        {"layer": 1},
        reads=MLP_IN,
        writes=MLP_OUT,
    ),
    **{
        f"dictionary-learning-{kind}": Case(
            "dictionary_learning",
            w.dictionary_learning(kind),
            formula,
            reads="layers.1.mlp.output",
        )
        for kind, formula in {
            "AutoEncoder": SAE,
            "AutoEncoderNew": Formula(),
            "AutoEncoderTopK": Formula("top", subtract=True),
            "BatchTopKSAE": Formula("jump", threshold=0.4, subtract=True),
            "GatedAutoEncoder": Formula("gated", subtract=True),
            "JumpReluAutoEncoder": JUMP,
            "MatryoshkaBatchTopKSAE": Formula("jump", threshold=0.4, subtract=True),
        }.items()
    },
    "sparsify": Case(
        "sparsify", w.sparsify("layers.1"), Formula("top", subtract=True), reads=STREAM
    ),
    "sparsify-transposed": Case(
        "sparsify",
        w.sparsify("layers.1", transposed=True),
        Formula("top", subtract=True),
        reads=STREAM,
    ),
    "sparsify-transcoder": Case(
        "sparsify",
        w.sparsify("layers.1.mlp", transcode=True, skip_connection=True, activation="groupmax"),
        Formula("group", skip=True),
        reads=NORMED,
        writes="layers.1.mlp.output",
    ),
    "qwen-scope": Case(
        "qwen_scope", w.qwen_scope, Formula("top"), arguments={"layer": 1, "k": 3}, reads=STREAM
    ),
    "goodfire": Case("goodfire", w.goodfire, Formula(), reads=STREAM),
    "circuit-tracer": Case(
        "circuit_tracer",
        w.circuit_tracer(),
        SKIP,
        arguments={"layer": 1},
        reads=NORMED,
        writes=MLP_OUT,
    ),
    "circuit-tracer-jumprelu": Case(
        "circuit_tracer",
        w.circuit_tracer(threshold=True),
        Formula("jump", skip=True),
        arguments={"layer": 1},
        reads=NORMED,
        writes=MLP_OUT,
    ),
    "circuit-tracer-topk": Case(
        "circuit_tracer",
        w.circuit_tracer(activation="topk"),
        Formula("signed_top", k=3, skip=True),
        arguments={"layer": 1},
        reads=NORMED,
        writes=MLP_OUT,
    ),
    "circuit-tracer-clt": Case(
        "circuit_tracer_cross_layer",
        w.circuit_tracer_clt,
        JUMP,
        3,
        {"layer": 1},
        "blocks.1.hook_resid_mid",
        MLP_OUT,
    ),
}
