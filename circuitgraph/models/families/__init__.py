"""One file per Hugging Face family: what its configuration means and where its weights lie.

A family reads a configuration, refuses what it does not know and maps the weights. It is a class
with the decorator ``@family("model_type")``: the fields of its configuration, what these fields
mean as a `Spec`, and the names of its tensors. To add a family, copy the file of a family like it;
no list has to be edited.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from circuitgraph.errors import ModelError, list_problems
from circuitgraph.models.parameters import Names, Rows, StorageLayout
from circuitgraph.models.spec import Activation, Spec
from circuitgraph.registry import Registry

Config = Mapping[str, Any]


class Family(ABC):
    """What a family's file must say.

    Attributes:
        handled: config fields that `spec` reads.
        irrelevant: config fields that do not change the logits of a forward pass in evaluation
            mode.
        required: config fields that must have the given value, because nothing else is implemented.
        names: where checkpoints keep each part; see `list_parameters` for our names.
        prefixes: what a tensor's name may begin with, before what `names` says.
        layout: how matrices lie in the files.
        reference_attention: transformers' implementation that ours is compared with.
        buffers: regular expression of tensor names that checkpoints hold and no forward pass reads.
    """

    handled: frozenset[str]
    irrelevant: frozenset[str] = frozenset()
    required: Mapping[str, Any] = MappingProxyType({})
    names: Names
    prefixes: tuple[str, ...] = ("model.",)
    layout: StorageLayout = "linear"
    reference_attention: str = "eager"
    buffers: str = r"rotary_emb\.inv_freq$"

    @abstractmethod
    def spec(self, config: Config) -> Spec:
        """The spec of a model with this configuration.

        Raises `ModelError` on values that a spec cannot express.
        """

    def fill(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with the fields that transformers computes from others.

        Every field with a plain default is there already.
        """
        return config

    def configured(self, config: Config) -> Family:
        """This family, adapted where names or settings depend on the configuration."""
        del config
        return self

    def read_config(self, config: Config) -> tuple[Family, Spec]:
        """The family adapted to a configuration that it understands, and the model's spec.

        Raises `ModelError` where `check` or `spec` do.
        """
        self.check(config)
        configured = self.configured(config)
        return configured, configured.spec(config)

    def stored_as(self, key: str) -> str | Rows:
        """Where checkpoints keep a parameter, ``.weight`` or ``.bias`` included."""
        if key in self.names:
            return self.names[key]
        site, part = key.rsplit(".", 1)
        source = self.names[site]
        if isinstance(source, Rows):
            return replace(source, name=f"{source.name}.{part}")
        return f"{source}.{part}"

    def drop(self, config: Config, fields: Collection[str]) -> dict[str, Any]:
        """The configuration without fields that somebody says change nothing.

        Raises:
            ModelError: the family reads such a field, or the configuration has none of that name.
        """
        read = [f"{name}: a setting of the computation" for name in fields if name in self.handled]
        missing = [
            f"{name}: there is no such field, leave it out" for name in fields if name not in config
        ]
        if problems := sorted({*read, *missing}):
            raise ModelError(list_problems("These fields cannot be ignored:", problems))
        return {name: value for name, value in config.items() if name not in fields}

    def check(self, config: Config) -> None:
        """Raise `ModelError` unless each config field is handled, irrelevant or as required.

        The error lists every other field.
        """
        known = self.handled | self.irrelevant | COMMON_IRRELEVANT
        required = {**COMMON_REQUIRED, **self.required}
        problems = []
        for name, value in config.items():
            if name in required:
                if value != required[name]:
                    problems.append(f"{name} = {value!r}; only {required[name]!r} is implemented")
            elif name not in known:
                problems.append(
                    f"{name} = {value!r}; a field that {type(self).__module__} does not know"
                )
        if problems:
            kind = config.get("model_type", "?")
            raise ModelError(
                list_problems(
                    f"This {kind} configuration has settings that would or might change the "
                    "computation in ways that circuitgraph cannot reproduce, so it is refused. A "
                    "field that changes nothing can be overruled: --ignore-config-field NAME, or "
                    "load_model(ignore_config_fields=[NAME]).",
                    problems,
                )
            )


families: Registry[Family] = Registry("model family", __name__)


def family(model_type: str) -> Callable[[type[Family]], type[Family]]:
    """Register a subclass of `Family` for checkpoints whose config says this ``model_type``."""

    def register(cls: type[Family]) -> type[Family]:
        families.add(model_type, cls())
        return cls

    return register


# transformers' names of activations -> ours. gelu_fast and gelu_accurate are the tanh form.
_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "linear": "identity",
}


def check_sizes(config: Config, *names: str) -> None:
    """Raise `ModelError` listing every named config field that is not a positive number."""
    problems = [f"{name} = {config[name]!r}" for name in names if config[name] < 1]
    if problems:
        raise ModelError(list_problems("Sizes in config.json must be at least 1:", problems))


def activation_named(name: str) -> Activation:
    """Our name of a transformers activation.

    Raises `ModelError` for an activation that is not implemented.
    """
    if name not in _ACTIVATIONS:
        raise ModelError(
            f"Activation {name!r} is not implemented. Known: {', '.join(_ACTIVATIONS)}."
        )
    return _ACTIVATIONS[name]


# Fields that any configuration may have, and what they must be.
COMMON_REQUIRED: Mapping[str, Any] = MappingProxyType(
    {
        "add_cross_attention": False,
        "cross_attention_hidden_size": None,
        "is_causal": True,
        "is_encoder_decoder": False,
        "pruned_heads": {},
        "qk_layer_norms": False,
        "quantization_config": None,
        "rope_interleaved": False,
        "tie_encoder_decoder": False,
        "use_resampler": False,
    }
)

# Fields that transformers writes into every configuration: names, training, generation, output
# format; and what trainers and converters of public checkpoints write beside them.
COMMON_IRRELEVANT = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_attn_implementation_internal",
        "_commit_hash",
        "_experts_implementation_internal",
        "_flash_attn_2_enabled",
        "_name_or_path",
        "_num_labels",
        "_output_attentions",
        "activation",
        "architectures",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "custom_pipelines",
        "decoder_start_token_id",
        "dtype",
        "eos_token_id",
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "is_decoder",
        "is_llama_config",
        "is_qwen2_config",
        "is_starcoder2_config",
        "label2id",
        "max_seq_len",
        "max_seq_length",
        "max_sequence_length",
        "model_max_length",
        "model_type",
        "neftune_noise_alpha",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "prefix",
        "problem_type",
        "return_dict",
        "sep_token_id",
        "task_specific_params",
        "tf_legacy_loss",
        "tokenizer_class",
        "tokenizer_model_max_length",
        "tokenizer_padding_side",
        "torch_dtype",
        "torchscript",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
        "use_cache",
        "use_flash_attention_2",
        "use_flash_attn",
        "use_reentrant_checkpointing",
        "use_return_dict",
    }
)
