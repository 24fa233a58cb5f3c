"""Steps of gradient descent on weights: of chosen nodes alone, or of the whole model.

Where only some nodes are tuned, the layers between them are run with their weights as constants,
and nothing below the lowest of them is gone back through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from circuitgraph.engine.batch import Inputs, take_scored
from circuitgraph.engine.low_rank import LowRankChange
from circuitgraph.models.positions import LayerSettings, Positions
from circuitgraph.models.transformer import Block, Transformer
from circuitgraph.tasks.metrics import Targets, metrics

Numbers = list[Array]  # those that are tuned
_LARGEST_GRADIENT = 1.0  # norm over all that is tuned
_HEADS, _KV_HEADS = ("w_q", "b_q", "w_o"), ("w_k", "b_k", "w_v", "b_v")
_NEURONS = ("w_in", "b_in", "w_gate", "b_gate", "w_out")


@dataclass(frozen=True)
class LayerChoice:
    """What is tuned of a layer.

    Attributes:
        kv_heads: whose keys and values are tuned.
        neurons: those of which all weights are tuned; None for the whole MLP.
    """

    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    neurons: tuple[int, ...] | None

    def list_parts(self) -> list[tuple[str, str, Any]]:
        """The arrays of a block that are tuned, and which part of each."""
        whole = self.neurons is None
        neurons = slice(None) if self.neurons is None else np.array(self.neurons, np.int32)
        heads, kv_heads = (np.array(own, np.int32) for own in (self.heads, self.kv_heads))
        parts = [("attention", name, heads) for name in _HEADS if self.heads]
        parts += [("attention", name, kv_heads) for name in _KV_HEADS if self.kv_heads]
        if whole or self.neurons:
            parts += [
                ("mlp", name, (slice(None), neurons) if name == "w_out" else neurons)
                for name in (*_NEURONS, *(["b_out"] if whole else []))
            ]
        return parts

    def read_numbers(self, block: Block) -> Numbers:
        """What is tuned of a block."""
        parts = [(getattr(getattr(block, at), name), own) for at, name, own in self.list_parts()]
        return [jnp.copy(array[own]) for array, own in parts if array is not None]

    def put_numbers(self, block: Block, numbers: Sequence[Array]) -> Block:
        """The block with what is tuned of it replaced."""
        left = iter(numbers)
        for at, name, own in self.list_parts():
            sublayer = getattr(block, at)
            if (array := getattr(sublayer, name)) is not None:
                sublayer = replace(sublayer, **{name: array.at[own].set(next(left))})
                block = replace(block, **{at: sublayer})
        return block


@runtime_checkable
class Tunable(Protocol):
    """A model of which some numbers are tuned."""

    def compute_residual(self, numbers: Any, inputs: Any) -> Any:
        """The model, for its unembedding, and the final residual stream with these numbers."""
        ...

    def build_model(self, numbers: Any) -> Any:
        """The whole model with these numbers."""
        ...


class TunedNodes(eqx.Module):
    """A model of whose layers some nodes are tuned."""

    model: Transformer
    layers: tuple[tuple[Block, LayerSettings], ...]
    choices: tuple[LayerChoice | LowRankChange | None, ...] = eqx.field(static=True)

    def compute_residual(
        self, numbers: Numbers, inputs: Inputs
    ) -> tuple[Transformer, Float[Array, "batch pos d"]]:
        """The model and its final stream; see `Tunable`."""
        positions = self.model.positions_of(inputs.tokens, inputs.mask, inputs.positions)
        x, left = self.model.embed(inputs.tokens, inputs.positions), list(numbers)
        for (block, settings), choice in zip(self.layers, self.choices, strict=True):
            if choice is None:
                x = _run_constant(x, (block, settings), positions)
            else:
                n = len(choice.read_numbers(block))
                own, left = left[:n], left[n:]
                x = choice.put_numbers(block, own).run(x, positions, settings).after
        return self.model, x

    def build_model(self, numbers: Numbers) -> Transformer:
        """The model with these numbers."""
        blocks, left, layer = self.model.blocks, list(numbers), 0
        for (block, settings), choice in zip(self.layers, self.choices, strict=True):
            if choice is None:
                layer += len(settings.window)
                continue
            n = len(choice.read_numbers(block))
            own, left = left[:n], left[n:]
            changed = choice.put_numbers(block, own)
            blocks = jax.tree.map(lambda a, b, at=layer: a.at[at].set(b), blocks, changed)
            layer += 1
        return replace(self.model, blocks=blocks)


def _run_constant(
    x: Float[Array, "batch pos d"], layers: tuple[Block, LayerSettings], positions: Positions
) -> Float[Array, "batch pos d"]:
    def run_layer(x: Array, layer: tuple[Block, LayerSettings]) -> tuple[Array, None]:
        return layer[0].run(x, positions, layer[1]).after, None

    return jax.lax.scan(run_layer, x, layers)[0]


class TunedModel(eqx.Module):
    """A model of which everything is tuned; an array that serves twice is tuned once."""

    structure: Any = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)

    def compute_residual(
        self, numbers: Numbers, inputs: Inputs
    ) -> tuple[Transformer, Float[Array, "batch pos d"]]:
        """The model and its final stream; see `Tunable`."""
        model = self.build_model(numbers)
        return model, model.final_residual(*inputs[:3])

    def build_model(self, numbers: Numbers) -> Transformer:
        """The model with these numbers."""
        return jax.tree.unflatten(self.structure, [numbers[place] for place in self.places])


def open_nodes(
    model: Transformer, choices: Mapping[int, LayerChoice | LowRankChange]
) -> tuple[TunedNodes, Numbers]:
    """The model of whose chosen layers something is tuned, and those numbers as they begin."""
    layers, own, numbers, start = [], [], [], 0
    stacked = model.stacked_layers()
    for layer in (*sorted(choices), model.spec.n_layers):
        if layer > start:
            layers.append(jax.tree.map(lambda a, s=start, e=layer: a[s:e], stacked))
            own.append(None)
        if layer in choices:
            layers.append(jax.tree.map(lambda a, at=layer: a[at], stacked))
            own.append(choices[layer])
            numbers += choices[layer].read_numbers(layers[-1][0])
        start = layer + 1
    return TunedNodes(model, tuple(layers), tuple(own)), numbers


def open_model(model: Transformer) -> tuple[TunedModel, Numbers]:
    """The model all of whose parameters are tuned, and its numbers as they are."""
    leaves, structure = jax.tree.flatten(model)
    unique = {id(leaf): leaf for leaf in leaves}
    order = {key: number for number, key in enumerate(unique)}
    return TunedModel(structure, tuple(order[id(leaf)] for leaf in leaves)), list(unique.values())


def make_optimiser(learning_rate: float) -> optax.GradientTransformation:
    """Adam, with gradients clipped by their norm."""
    return optax.chain(optax.clip_by_global_norm(_LARGEST_GRADIENT), optax.adam(learning_rate))


def start_optimiser(numbers: Numbers, learning_rate: float) -> optax.OptState:
    """The optimiser's state before the first step, on the device where the steps leave it.

    Otherwise the second step would be compiled anew. Where weights are cut, it is cut like them.
    """
    state = make_optimiser(learning_rate).init(numbers)
    if any(len(number.sharding.device_set) > 1 for number in numbers):
        return state
    return jax.device_put(state, jax.devices()[0])


@eqx.filter_jit
def run_tuning_step(
    network: Tunable,
    numbers: Numbers,
    state: optax.OptState,
    inputs: Inputs,
    targets: Targets,
    learning_rate: float,
) -> tuple[Numbers, optax.OptState, Float[Array, ""]]:
    """The numbers and the optimiser's state after one step, and the mean cross-entropy before."""

    def compute_loss(own: Numbers) -> Float[Array, ""]:
        with jax.default_matmul_precision("highest"):
            model, x = network.compute_residual(own, inputs)
            logits = model.unembed(take_scored(x, inputs.score_at))
            return metrics["cross_entropy"].measure(logits, targets).mean()

    loss, gradient = jax.value_and_grad(compute_loss)(numbers)
    updates, after = make_optimiser(learning_rate).update(gradient, state, numbers)
    moved: Any = optax.apply_updates(numbers, updates)
    return moved, after, loss
