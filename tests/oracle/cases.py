"""Tiny random models of every family, and prompts for them, on which the oracle is judged.

Hugging Face computes softmax, and in some families norms, in float32 whatever the model's dtype is.
Comparisons with
it are therefore held to `CLOSE` times the largest value, even in float64; the oracle's own ones to
`EXACT`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from .hooked import Trace, hooked_logits, trace
from .names import edge_names
from .run import Ablation, OracleRun

Fields = dict[str, Any]
CLOSE, EXACT = 1e-5, 1e-10
VOCAB, LENGTHS, PADDED_TO = 50, (6, 4, 5), 7
COMMON: Fields = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
IDS: Fields = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
GROUPED: Fields = {
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "head_dim": 8,
    "rms_norm_eps": 0.03,
}
SCALED: Fields = {"rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 3}
LLAMA3: Fields = SCALED | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN: Fields = SCALED | {"rope_type": "yarn"}
PARTIAL: Fields = {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}
FIELDS: dict[str, Fields] = {
    "gpt2": {"n_inner": 20, "n_positions": 8, "scale_attn_by_inverse_layer_idx": True},
    "llama": GROUPED
    | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"}
    | {"rope_parameters": LLAMA3},
    "gpt_neox": {"intermediate_size": 20, "num_attention_heads": 3, "layer_norm_eps": 0.03}
    | {"rope_parameters": PARTIAL, "hidden_act": "relu"},
    "gemma2": GROUPED
    | {"sliding_window": 3, "query_pre_attn_scalar": 12, "attn_logit_softcapping": 2.0}
    | {
        "final_logit_softcapping": 3.0,
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 20.0},
    },
    "bloom": {"num_attention_heads": 3, "layer_norm_epsilon": 0.03},
    "olmo2": GROUPED
    | {"rope_parameters": YARN, "max_position_embeddings": 12, "hidden_act": "gelu"},
    "granite": GROUPED
    | {
        "attention_bias": True,
        "mlp_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
    }
    | {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.6,
        "logits_scaling": 2.0,
    },
}
OTHERS: list[tuple[str, Fields]] = [  # one setting changed, the weights kept: it must show
    ("gpt2", {"scale_attn_by_inverse_layer_idx": False}),
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 50.0, "factor": 4.0}}),
    ("llama", {"rms_norm_eps": 1e-5}),
    ("llama", {"hidden_act": "silu"}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("gpt_neox", {"rope_parameters": PARTIAL | {"partial_rotary_factor": 1.0}}),
    ("gpt_neox", {"rope_parameters": PARTIAL | {"rope_theta": 10.0}}),
    ("gpt_neox", {"layer_norm_eps": 1e-5}),
    ("gemma2", {"sliding_window": 2}),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    ("gemma2", {"query_pre_attn_scalar": 8}),
    ("gemma2", {"attn_logit_softcapping": None}),
    ("gemma2", {"final_logit_softcapping": None}),
    ("gemma2", {"rms_norm_eps": 1e-5}),
    ("bloom", {"layer_norm_epsilon": 1e-5}),
    ("olmo2", {"rms_norm_eps": 1e-5}),
    ("olmo2", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
    ("granite", {"embedding_multiplier": 1.0}),
    ("granite", {"residual_multiplier": 1.0}),
    ("granite", {"attention_multiplier": 1.0}),
    ("granite", {"logits_scaling": 1.0}),
]
REBUILT: list[
    tuple[str, Fields]
] = [  # settings that change the weights' shapes, or how many there are
    (
        "llama",
        {
            "attention_bias": False,
            "mlp_bias": False,
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
        },
    ),
    ("llama", {"num_key_value_heads": 1, "head_dim": 6}),
    ("gpt_neox", {"attention_bias": False, "tie_word_embeddings": True}),
    ("gemma2", {"num_key_value_heads": 1, "tie_word_embeddings": False}),
    ("bloom", {"num_attention_heads": 4, "tie_word_embeddings": False}),
    ("bloom", {"num_attention_heads": 6}),
    ("olmo2", {"num_key_value_heads": 4}),
]


def make_config(family: str, **fields: Any) -> Any:
    kind: Any = CONFIG_MAPPING[family]
    return kind(**fields)


def tiny_model(family: str, dtype: torch.dtype = torch.float64, **fields: Any) -> Any:
    """A random model in which every parameter matters: no norm or bias has its initial value."""
    torch.manual_seed(0)
    settings: Fields = COMMON | IDS | {"initializer_range": 0.3} | FIELDS[family] | fields
    if "rope_parameters" in settings:  # a copy, because configs write into theirs
        settings = (
            {"max_position_embeddings": 4}
            | settings
            | {"rope_parameters": dict(settings["rope_parameters"])}
        )
    model: Any = AutoModelForCausalLM.from_config(
        make_config(family, **settings), attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.to(dtype).eval()


@dataclass
class Case:
    """A model with padded prompt pairs of unequal lengths, scored at different positions."""

    model: Any
    clean: Tensor
    corrupted: Tensor
    mask: Tensor
    score_at: Tensor

    def oracle(self, ablation: Ablation = "resample") -> OracleRun:
        return OracleRun(self.model, self.clean, self.corrupted, self.mask, self.score_at, ablation)

    @property
    def hugging_face_mask(self) -> Tensor:
        """The mask that Hugging Face gets; in float64 it hides nothing.

        A padded query that sees no key, as behind a window, would become NaN, and reach real
        positions as 0 * NaN. Real positions do not see padding on the right anyway.
        """
        return self.mask if self.model.dtype == torch.float32 else torch.ones_like(self.mask)

    @torch.no_grad()
    def hugging_face(self, tokens: Tensor) -> Tensor:
        """Logits at the real positions, one after the other."""
        return self.model(tokens, attention_mask=self.hugging_face_mask, use_cache=False).logits[
            self.mask.bool()
        ]

    def trace(self, tokens: Tensor) -> Trace:
        return trace(self.model, tokens, self.hugging_face_mask)

    def run_hooked(
        self,
        kept: set[str],
        ablation: Ablation = "resample",
        direct: bool = False,
        kv: bool = False,
    ) -> Tensor:
        seen = self.trace(self.corrupted)
        replacement = by_words(seen, ablation)
        logits = hooked_logits(
            self.model, self.clean, self.hugging_face_mask, seen, replacement, kept, direct, kv
        )
        return logits[range(len(logits)), self.score_at]


def by_words(corrupted: Trace, ablation: Ablation) -> dict[str, Tensor]:
    """The ablations whose words need no position; the others are judged on GPT-2."""
    real = (torch.arange(PADDED_TO) < torch.tensor(LENGTHS)[:, None])[..., None]
    replacement = {}
    for name, value in corrupted.writers.items():
        mean = ((value * real).sum((0, 1)) / sum(LENGTHS)).expand_as(value)
        replacement[name] = {"resample": value, "mean": mean, "zero": torch.zeros_like(value)}[
            ablation
        ]
    return replacement


def make_case(family: str, dtype: torch.dtype = torch.float64, **fields: Any) -> Case:
    model = tiny_model(family, dtype, **fields)
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = torch.randint(1, VOCAB, (2, len(LENGTHS), PADDED_TO), generator=generator)
    lengths = torch.tensor(LENGTHS)
    mask = (torch.arange(PADDED_TO) < lengths[:, None]).long()
    return Case(
        model, clean, corrupted, mask, torch.stack([lengths[0] - 1, lengths[1] - 1, lengths[2] - 2])
    )


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = CLOSE) -> None:
    scale = max(expected.abs().max().item(), 1.0)
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)


def some_edges(case: Case, share: float, direct: bool = False, kv: bool = False) -> set[str]:
    edges = edge_names(case.model.config, direct, kv=kv)
    drawn = torch.rand(len(edges), generator=torch.Generator().manual_seed(0)) < share
    return {edge for edge, chosen in zip(edges, drawn.tolist(), strict=True) if chosen}
