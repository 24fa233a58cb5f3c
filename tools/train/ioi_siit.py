"""Train the `ioi` model by strict interchange-intervention training.

    python tools/train/ioi_siit.py --out catalog/models/ioi --seed 0

Strict interchange-intervention training is from Gupta et al. (2024, InterpBench). Here it is done
edge by edge: the loss runs our own masked forward pass, in which every edge carries the clean
prompt or a donor, and wants at the end what the program in ``ioi_program`` says. So the edges that
carry the behaviour are known: `ioi_program.TRUE` alone.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from ioi import build_model, build_tokenizer, parse_settings
from ioi_interchange import Question, compute_loss, draw_mask, draw_question, number_true_edges
from ioi_program import ROLES
from ioi_prompts import Language
from ioi_siit_card import write_card, write_truth
from jax import Array
from supervised import replace_folder, save_model
from tqdm import tqdm

from circuitgraph.engine.grid import Grid
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.models.transformer import Transformer


@dataclass(frozen=True)
class Settings:
    """Every number that decides the weights, so that the card can print them all."""

    seed: int = 0
    steps: int = 1500
    groups: int = 8
    batch: int = 8  # prompts of each group, which share one mask
    layers: int = 3
    heads: int = 4
    width: int = 64
    lr: float = 2e-3
    pool: int = 100_000


def start_from_heads(model: Transformer, seed: int) -> Transformer:
    """The model, with three heads that compare and copy names already, all names alike.

    From small random weights names are learned one by one: 3,700 steps came no further than 300 do
    from here. What remains to be learned: which names to compare, when to inhibit, where to look,
    and that nothing else may matter.
    """
    rng, (d_head, d) = np.random.default_rng(seed), (model.spec.d_head, model.spec.d_model)
    (dup, sinh, mover), attention = map(_parse_head, ROLES), model.blocks.attention
    w_q, w_k, w_v, w_o = (
        np.array(w) for w in (attention.w_q, attention.w_k, attention.w_v, attention.w_o)
    )

    def make_projection() -> np.ndarray:
        return np.linalg.qr(rng.normal(size=(d, d_head)))[0].T.astype(np.float32)

    def draw_noise(*shape: int) -> np.ndarray:
        return (0.08 * rng.normal(size=shape)).astype(np.float32)

    compared, inhibited, copied = make_projection(), make_projection(), make_projection()
    w_q[dup] = w_k[dup] = 1.2 * compared  # equal names attract each other
    w_v[dup], w_o[dup], w_q[sinh], w_k[sinh] = (
        draw_noise(d_head, d),
        draw_noise(d, d_head),
        draw_noise(d_head, d),
        draw_noise(d_head, d),
    )
    w_v[sinh], w_o[sinh] = 0.5 * inhibited, 0.5 * inhibited.T
    w_q[mover], w_k[mover] = -inhibited, inhibited  # an inhibited name repels
    w_v[mover], w_o[mover] = copied, copied.T
    embedding, positional = (5 * np.array(table) for table in (model.embedding, model.positional))
    return eqx.tree_at(
        lambda m: (
            *(getattr(m.blocks.attention, f"w_{x}") for x in "qkvo"),
            m.embedding,
            m.positional,
            m.unembedding,
        ),
        model,
        [
            jnp.asarray(array, jnp.float32)
            for array in (w_q, w_k, w_v, w_o, embedding, positional, embedding)
        ],
    )


def _parse_head(head: str) -> tuple[int, int]:
    """Layer and index of a head."""
    layer, index = head[1:].split(".h")
    return int(layer), int(index)


def make_optimizer(s: Settings) -> optax.GradientTransformation:
    warm = min(100, s.steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, s.lr, warm, s.steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


@eqx.filter_jit
def update_step(
    model: Any, state: Any, grid: Grid, question: Question, optimizer: Any
) -> tuple[Transformer, Any, Array]:
    loss, gradient = jax.value_and_grad(compute_loss)(model, grid, question)
    updates, state = optimizer.update(gradient, state, model)
    return cast(Any, optax.apply_updates(model, updates)), state, loss


def train_model(start: LanguageModel, s: Settings) -> tuple[Transformer, list[float]]:
    """Train from a head start; returns the transformer and the loss of each step."""
    assert start.tokenizer is not None
    rng = np.random.default_rng(s.seed)
    graph, language = start.graph(), Language(start.tokenizer)
    true, grid = number_true_edges(graph), Grid.of(graph)
    pool = language.draw_pairs(rng, s.pool, "discovery")
    optimizer, model = make_optimizer(s), start_from_heads(start.transformer, s.seed)
    state, losses = optimizer.init(cast(Any, model)), []
    bar = tqdm(range(s.steps), desc="train", mininterval=5.0)
    for i in bar:
        pairs = pool[rng.integers(len(pool.length), size=s.groups * s.batch)]
        masks = np.stack(
            [draw_mask(rng, graph, true, group * 8 // s.groups) for group in range(s.groups)]
        )
        model, state, loss = update_step(
            model, state, grid, draw_question(pairs, masks, true, start.spec.d_vocab), optimizer
        )
        losses.append(float(loss))
        if i % 50 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}")
    return model, losses


def state_dict_of(model: Transformer, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights as GPT2LMHeadModel lays them out; what ours has not stays as in ``like``."""
    attention: Any = model.blocks.attention  # of GPT-2, so that it has all biases
    tensors = dict(like)

    def put_tensor(name: str, array: Any) -> None:
        tensors[name] = (
            torch.from_numpy(np.array(array, np.float32)).reshape(like[name].shape).clone()
        )

    def flatten_heads(
        weight: Any,
    ) -> np.ndarray:  # [heads, d_head, d] as Conv1D's [d, heads * d_head]
        return np.asarray(weight).reshape(-1, weight.shape[-1]).T

    put_tensor("transformer.wte.weight", model.embedding)
    put_tensor("transformer.wpe.weight", model.positional)
    put_tensor("lm_head.weight", model.unembedding)
    norms = [("transformer.ln_f", jax.tree.map(lambda a: a[None], model.final_norm))]
    norms += [("transformer.h.{i}.ln_1", attention.norm)]
    for name, norm in norms:
        for i, (weight, bias) in enumerate(zip(norm.weight, norm.bias, strict=True)):
            put_tensor(f"{name.format(i=i)}.weight", weight)
            put_tensor(f"{name.format(i=i)}.bias", bias)
    for i in range(model.spec.n_layers):
        at = f"transformer.h.{i}.attn"
        weights = [
            flatten_heads(weight[i]) for weight in (attention.w_q, attention.w_k, attention.w_v)
        ]
        biases = [np.ravel(bias[i]) for bias in (attention.b_q, attention.b_k, attention.b_v)]
        put_tensor(f"{at}.c_attn.weight", np.concatenate(weights, axis=1))
        put_tensor(f"{at}.c_attn.bias", np.concatenate(biases))
        put_tensor(
            f"{at}.c_proj.weight",
            np.asarray(attention.w_o[i]).transpose(0, 2, 1).reshape(-1, model.spec.d_model),
        )
        put_tensor(f"{at}.c_proj.bias", attention.b_o[i])
    return tensors


def check_files(model: Transformer, folder: Path) -> None:
    """Raise unless the model in the folder is the trained one, to the last bit."""
    saved = load_model(folder).transformer
    same = jax.tree.map(lambda one, other: bool((one == other).all()), model, saved)
    if not all(jax.tree.leaves(same)):
        raise RuntimeError("the saved checkpoint is not the trained model")


def load_start(s: Settings, folder: Path) -> tuple[Any, LanguageModel]:
    """An untrained GPT-2 whose MLPs are zero, and the same as we load it."""
    torch_model = build_model(s.layers, s.heads, s.width, 4, s.seed)
    for block in torch_model.transformer.h:
        for parameter in block.mlp.parameters():
            torch.nn.init.zeros_(parameter)
    save_model(torch_model, build_tokenizer(), folder)
    return torch_model, load_model(folder)


def build_folder(out: Path, s: Settings) -> None:
    """Train, then write a folder beside `out` that takes the place of `out` when complete."""
    torch.set_num_threads(1)
    with replace_folder(out) as folder:
        torch_model, start = load_start(s, folder)
        start_time = time.perf_counter()
        model, losses = train_model(start, s)
        seconds = time.perf_counter() - start_time
        torch_model.load_state_dict(state_dict_of(model, torch_model.state_dict()))
        save_model(torch_model, build_tokenizer(), folder)
        check_files(model, folder)
        write_truth(folder, out.name)
        write_card(folder, out.name, asdict(s), seconds, float(np.mean(losses[-50:])))


if __name__ == "__main__":
    build_folder(*parse_settings(Settings, __doc__ or ""))
