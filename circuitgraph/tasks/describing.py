"""What is written down of a model, of the prompts of a task, and of the machine they ran on."""

from __future__ import annotations

import platform
from importlib import metadata

import jax

import circuitgraph
from circuitgraph.catalog.records import (
    AttachedDictionaryRecord,
    Environment,
    ModelRecord,
    TaskRecord,
)
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts, Split


def describe_model(model: LanguageModel) -> ModelRecord:
    """What is written down of a model."""
    return ModelRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        weights_sha256=model.fingerprint,
        tokenizer_sha256=model.tokenizer.fingerprint if model.tokenizer else None,
        n_parameters=model.n_parameters,
        options=dict(model.options),
        dictionaries=[
            AttachedDictionaryRecord(layer=layer, name=each.name, sha256=each.fingerprint)
            for layer, each in model.dictionaries.items()
        ],
    )


def describe_task(task: Task, prompts: Prompts, split: Split) -> TaskRecord:
    """What is written down of a task and of its prompts."""
    return TaskRecord(
        name=task.name,
        arguments=dict(task.arguments),
        seed=task.seed,
        split=split,
        n_prompts=len(prompts),
        prompts_sha256=prompts.fingerprint,
    )


def describe_environment(model: LanguageModel) -> Environment:
    """Versions, backend and devices of this process, and how a model lies on them."""
    packages = ("jax", "jaxlib", "equinox", "numpy", "torch", "transformers")
    versions = {name: metadata.version(name) for name in packages}
    versions |= {"circuitgraph": circuitgraph.__version__, "python": platform.python_version()}
    return Environment(
        precision=model.dtype,
        backend=jax.default_backend(),
        devices=jax.device_count(),
        shards=model.shards,
        versions=versions,
    )
