"""A batch: prompts on the device, with all that runs need of them. Made here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.ablation import Background
from circuitgraph.engine.values import Values
from circuitgraph.errors import DataError, list_problems, unknown_name
from circuitgraph.graph.graph import Graph
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.spec import Spec
from circuitgraph.tasks.metrics import Metric, Targets, metrics
from circuitgraph.tasks.prompts import Prompts

Rows = slice | Int[np.ndarray, " rows"]
ALL = slice(None)


class Inputs(NamedTuple):
    """One side (clean or corrupted) of a batch of right-padded prompts.

    Attributes:
        score_at: positions.
        sources: where the sources stand by which heads are split, in the order of
            `HeadSources.names`; None where all heads are whole.
    """

    tokens: Int[Array, "batch pos"]
    mask: Bool[Array, "batch pos"]
    positions: Int[Array, "batch pos"]
    score_at: Int[Array, "batch scored"]
    sources: Int[Array, "batch names"] | None = None


class Batch(NamedTuple):
    """Prompts, with what their logits are compared with.

    Attributes:
        inputs, corrupted: both sides; ``corrupted`` is None where the prompts have no counterparts.
        targets: answers, and where they are known the whole model's logits.
        background: what readers get whatever the mask; None until an ablation has made it.
        errors: of a graph in which they are frozen, what dictionaries do not reconstruct in the
            clean run, [layers, batch, pos, d].
    """

    inputs: Inputs
    targets: Targets
    corrupted: Inputs | None = None
    background: Background | None = None
    errors: Float[Array, "layers batch pos d"] | None = None

    @property
    def n_prompts(self) -> int:
        """Number of prompts."""
        return len(self.inputs.tokens)

    def map_prompts(self, function: Callable[[int, Array], Array]) -> Batch:
        """Call a function with each array and the number of its axis of prompts."""
        first = partial(jax.tree.map, partial(function, 0))
        made = None if self.background is None else self.background.map_prompts(function)
        errors = None if self.errors is None else function(1, self.errors)
        return Batch(first(self.inputs), first(self.targets), first(self.corrupted), made, errors)


def make_batch(
    prompts: Prompts,
    rows: Rows = ALL,
    *,
    length: int | None = None,
    sources: Sequence[str] = (),
) -> Batch:
    """Some of the prompts with both of their sides, on the device.

    Args:
        rows: which prompts; a number may stand there several times, to fill a batch up.
        length: pad to that many positions; by default the prompts' own.
        sources: by which heads are split; see `find_sources`.
    """
    mask = pad_positions(prompts.mask[rows], length)
    at = prompts.score_at[rows]
    clean, corrupted = make_inputs(pad_positions(prompts.clean[rows], length), mask, at), None
    if sources:
        at = find_sources(prompts, sources)[rows]
        clean = clean._replace(sources=jax.device_put(at))
    if prompts.corrupted is not None:
        tokens = jax.device_put(pad_positions(prompts.corrupted[rows], length))
        corrupted = clean._replace(tokens=tokens)
    return Batch(clean, make_targets(prompts, rows), corrupted)


def find_sources(prompts: Prompts, names: Sequence[str]) -> Int[np.ndarray, "batch names"]:
    """Where each source stands in each prompt: the position of a role, or the one of that number.

    Raises:
        UnknownNameError: a role that a prompt does not have.
    """
    for pair in prompts.pairs:
        for name in names:
            if not name.isdecimal() and name not in pair.roles:
                raise unknown_name("role of these prompts", name, pair.roles)
    rows = [
        [int(name) if name.isdecimal() else pair.roles[name] for name in names]
        for pair in prompts.pairs
    ]
    return np.array(rows, np.int32).reshape(len(prompts), len(names))


def make_inputs(
    tokens: Int[np.ndarray, "batch pos"],
    mask: Bool[np.ndarray, "batch pos"],
    score_at: Int[np.ndarray, "batch *scored"],
) -> Inputs:
    """Any right-padded prompts on the device; positions count from the first token.

    Args:
        score_at: one position of each prompt, or several.
    """
    positions = np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)
    at = score_at.reshape(len(tokens), -1)
    parts = (tokens.astype(np.int32), mask, positions, at.astype(np.int32))
    # jnp.asarray would compile a program for each shape
    return Inputs(*map(jax.device_put, parts))


def unpadded_inputs(tokens: Int[np.ndarray, "batch pos"]) -> Inputs:
    """Prompts of one length on the device, scored at their last token."""
    last = np.full(len(tokens), tokens.shape[1] - 1)
    return make_inputs(tokens, np.ones(tokens.shape, bool), last)


def make_targets(prompts: Prompts, rows: Rows = ALL) -> Targets:
    """The answers of some of the prompts; nothing is known of the whole model's logits yet."""

    n = len(prompts.score_at[rows])
    # [batch] -> [batch, 1]: in the engine there is always an axis of scored positions
    answer, distractor, weights = (
        None if array is None else jax.device_put(array[rows].reshape(n, -1))
        for array in (prompts.answer, prompts.distractor, prompts.weights)
    )
    right, wrong = (
        None if array is None else jax.device_put(array[rows][:, None])
        for array in (prompts.right, prompts.wrong)
    )
    return Targets(
        answer,
        distractor,
        full_logits=None,
        right=right,
        wrong=wrong,
        token_weights=weights if prompts.scores == "tokens" else None,
        position_weights=weights if prompts.scores == "positions" else None,
    )


def pad_positions(tokens: np.ndarray, length: int | None) -> np.ndarray:
    """Padded on the right to that many positions; as it is if ``length`` is None."""
    more = 0 if length is None else length - tokens.shape[1]
    return np.pad(tokens, [(0, 0), (0, more)])


def take_scored(
    x: Float[Array, "*lead batch pos d"], at: Int[Array, "batch scored"]
) -> Float[Array, "*lead batch scored d"]:
    """``x`` at each example's scored positions."""
    # [1, ..., batch, scored, 1], so that each example takes positions of its own
    index = at.reshape((1,) * (x.ndim - 3) + (*at.shape, 1))
    return jnp.take_along_axis(x, index, axis=-2)


def take_scored_values(values: Values, at: Int[Array, "batch scored"]) -> Values:
    """The values at each example's scored positions."""
    return Values(take_scored(values.nodes, at), take_scored_numbers(values.units, at))


def take_scored_numbers(
    x: Float[Array, "*lead batch pos"], at: Int[Array, "batch scored"]
) -> Float[Array, "*lead batch scored"]:
    """`take_scored` of numbers, as of vectors of one dimension."""
    return take_scored(x[..., None], at)[..., 0]


def check_prompts(model: LanguageModel, prompts: Prompts, metric: Metric) -> None:
    """Raise `DataError` unless the model can read these prompts, and the metric score them."""
    check_tokens(model.spec, prompts)
    if metric.needs_answer and prompts.answer is None:
        raise DataError(
            f"Metric {metric.name!r} needs an answer for every pair. Without one, use: "
            f"{_list_metrics(lambda other: not other.needs_answer)}."
        )
    if metric.needs_distractor and prompts.distractor is None:
        raise DataError(
            f"Metric {metric.name!r} needs a distractor for every pair. Without one, use: "
            f"{_list_metrics(lambda other: not other.needs_distractor)}."
        )
    if prompts.scores == "tokens" and metric.over_tokens is None:
        raise DataError(
            f"Metric {metric.name!r} says nothing of answers of several tokens. For them, use: "
            f"{_list_metrics(lambda other: other.over_tokens is not None)}."
        )


def check_sources(graph: Graph, prompts: Prompts) -> None:
    """Refuse sources of split heads that these prompts do not have, or that are not apart.

    Raises:
        UnknownNameError: as `find_sources`.
        DataError: a position beyond all prompts, or two sources of one head at one position.
    """
    n_pos, problems = prompts.mask.shape[1], list[str]()
    for split in graph.head_splits:
        at = find_sources(prompts, split.sources)
        problems += [
            f"{split.whole} is split at position {name}, but the prompts have {n_pos} tokens"
            for name, places in zip(split.sources, at.T, strict=True)
            if (places >= n_pos).all()
        ]
        for one, other in combinations(range(len(split.sources)), 2):
            if (same := at[:, one] == at[:, other]).any():
                problems.append(
                    f"{split.sources[one]!r} and {split.sources[other]!r}, sources of "
                    f"{split.whole}, are the same token in prompt {int(same.argmax()) + 1}: name "
                    "one of them"
                )
    if problems:
        raise DataError(list_problems("These heads cannot be split so:", problems))


def _list_metrics(suits: Callable[[Metric], bool]) -> str:
    return ", ".join(name for name in metrics.names() if suits(metrics[name]))


def check_tokens(spec: Spec, prompts: Prompts) -> None:
    """Raise `DataError` where a prompt is longer than the context or has a token too high."""
    longest = prompts.mask.shape[1]
    if longest > spec.n_ctx:
        raise DataError(
            f"A prompt has {longest} tokens, but the model's context is {spec.n_ctx}: use shorter "
            "prompts."
        )
    for what, n_known, groups in (
        ("knows only", spec.d_vocab, (prompts.clean, prompts.corrupted)),
        (
            "predicts only",
            spec.d_vocab_out,
            (prompts.answer, prompts.distractor, prompts.right, prompts.wrong),
        ),
    ):
        # [batch, *]: the highest token of each prompt
        highest = np.max(
            [ids.reshape(len(ids), -1).max(axis=1) for ids in groups if ids is not None] or [[-1]],
            axis=0,
        )
        if highest.max() >= n_known:
            pair = prompts.pairs[int(highest.argmax())]
            raise DataError(
                f"Token {highest.max()} stands in a prompt or answer, but the model {what} "
                f"{n_known} tokens. The pair is {pair.clean!r} with the answer {pair.answer!r}; "
                "a tokenizer that gives such tokens is another model's."
            )
