"""Tiny random checkpoints, written to disk and loaded back through the real path, and prompts for
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.prompts import Pair, Prompts
from tests import oracle
from tests.oracle.units import Parts

ODD = {  # every field that matters, away from its default
    "n_layer": 3,
    "n_head": 4,
    "n_embd": 24,
    "n_inner": 40,
    "n_positions": 13,
    "vocab_size": 50,
    "activation_function": "gelu",
    "layer_norm_epsilon": 3e-3,
    "scale_attn_by_inverse_layer_idx": True,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Tiny:
    """One checkpoint, as it is on disk, as transformers runs it and as we do."""

    folder: Path
    hf: Any
    ours: LanguageModel


def save_tiny(folder: Path, seed: int = 0, silent_mlp: bool = False, **fields: Any) -> Tiny:
    """Write a random GPT-2 whose biases and norms are random too, and load it back."""
    config = GPT2Config(
        **{**ODD, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3, **fields}
    )
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
            if silent_mlp and "mlp.c_proj" in name:
                parameter.zero_()
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    return load_tiny(folder)


def load_tiny(folder: Path) -> Tiny:
    """A checkpoint on disk, loaded by transformers and by us."""
    hf: Any = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    return Tiny(folder, hf, load_model(str(folder)))


def load_double(folder: Path) -> Any:
    """transformers' model in float64, in which its grouped products of experts do not run."""
    return AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", experts_implementation="eager"
    ).double()


def random_prompts(vocab: int = 50, batch: int = 5, longest: int = 9, seed: int = 0) -> Prompts:
    """Random tokens of several lengths, padded on the right; answers and distractors differ."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(1, longest - 4), longest + 1, batch)
    lengths[0] = longest
    mask = np.arange(longest) < lengths[:, None]
    clean, corrupted = (
        np.where(mask, rng.integers(0, vocab, mask.shape), 0).astype(np.int32) for _ in range(2)
    )
    answer, distractor = rng.permuted(np.tile(np.arange(vocab), (batch, 1)), axis=1)[
        :, :2
    ].T.astype(np.int32)
    pairs = tuple(Pair(f"clean {i}", f"corrupted {i}", " yes", " no") for i in range(batch))
    return Prompts(clean, corrupted, mask, lengths - 1, answer, distractor, pairs)


def score_two_positions(prompts: Prompts) -> Prompts:
    """The prompts scored by their own tokens at two positions: the scored one, and that before."""
    at = np.stack([prompts.score_at - 1, prompts.score_at], axis=1)
    return replace(
        prompts,
        score_at=at,
        answer=np.take_along_axis(prompts.clean, at, axis=1),
        distractor=None,
        scores="positions",
        weights=np.full(at.shape, 0.5),
    )


def oracle_run(
    tiny: Tiny,
    prompts: Prompts,
    ablation: str,
    *,
    double: bool = False,
    parts: Parts | None = None,
    own: Collection[int] = (),
    sources: Mapping[str, Sequence[str]] | None = None,
) -> oracle.OracleRun:
    """The oracle on the same checkpoint and prompts; ``parts`` of MLPs are nodes of their own, with
    ``own`` inputs in these layers; heads are cut by ``sources``.
    """
    hf: Any = tiny.hf
    if double:
        hf = load_double(tiny.folder)
    return oracle.OracleRun(
        hf.eval(),
        torch.tensor(prompts.clean).long(),
        torch.tensor(prompts.corrupted).long(),
        torch.tensor(prompts.mask).long(),
        torch.tensor(prompts.score_at).long(),
        ablation,  # pyright: ignore[reportArgumentType]
        parts,
        own,
        {head: _find_places(prompts, names) for head, names in (sources or {}).items()},
    )


def _find_places(prompts: Prompts, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Where roles, or positions by their numbers, stand in each prompt."""
    return {
        name: torch.tensor([p.roles[name] if name in p.roles else int(name) for p in prompts.pairs])
        for name in names
    }
