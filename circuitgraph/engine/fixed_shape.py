"""Runs of a few prompts at a time, whatever they are, in launches of one shape.

Property tests draw thousands of small sets of fresh prompts. All of them are padded to one shape,
so that each program is compiled once, and not once for each set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from circuitgraph.engine.batch import make_batch, make_inputs, make_targets
from circuitgraph.engine.grid import Grid
from circuitgraph.engine.masked.programs import run_full, run_metric, run_patched_edges
from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tuning import FIXED_SHAPE_ROWS as ROWS
from circuitgraph.engine.tuning import LENGTH_STEP
from circuitgraph.errors import ArgumentError, check_at_least
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.metrics import Metric
from circuitgraph.tasks.prompts import Pair, Prompts


@dataclass(frozen=True)
class TokenisedPrompt:
    """A prompt and its answers as token ids.

    Attributes:
        pair: the prompt as text.
        distractor: None if the task has none.
        right, wrong: all right and all wrong answers; empty if the task names none.
    """

    pair: Pair
    ids: tuple[int, ...]
    answer: int
    distractor: int | None
    right: tuple[int, ...]
    wrong: tuple[int, ...]


class PromptShape(NamedTuple):
    """What prompts are padded to: a number of tokens, and of right and of wrong answers.

    The numbers of answers are 0 if the task names no sets of them.
    """

    length: int
    right: int
    wrong: int

    @classmethod
    def of(cls, prompts: Sequence[TokenisedPrompt]) -> PromptShape:
        """The shape that these prompts need."""
        return cls(
            _round_length(max(len(prompt.ids) for prompt in prompts)),
            _round_answers(max(len(prompt.right) for prompt in prompts)),
            _round_answers(max(len(prompt.wrong) for prompt in prompts)),
        )

    def union(self, other: PromptShape) -> PromptShape:
        """The shape that both need."""
        return PromptShape(*map(max, self, other))


class FixedShapeRuns:
    """A model that runs any prompts, a few at a time, by programs of one shape.

    Args:
        shape: enough for nearly all prompts; where prompts need more, the shape grows, and the
            programs compile once more.
    """

    def __init__(self, model: LanguageModel, metric: Metric, shape: PromptShape) -> None:
        self._model, self._metric, self._shape = model, metric, shape
        self._length = shape.length  # of runs for logits, which take longer prompts as well
        self._graph = model.graph()
        self._grid = Grid.of(self._graph)

    def compute_logits(
        self, prompts: Sequence[tuple[int, ...]]
    ) -> Float[np.ndarray, "prompts vocab"]:
        """The logits after the last token of each prompt, in float32.

        Raises:
            ArgumentError: a prompt is longer than the model's context.
        """
        return np.concatenate(
            [self._launch_logits(prompts[part]) for part in _cut_launches(len(prompts))]
        )

    def _launch_logits(self, prompts: Sequence[tuple[int, ...]]) -> Float[np.ndarray, "n vocab"]:
        longest, n_ctx = max(map(len, prompts)), self._model.spec.n_ctx
        if longest > n_ctx:
            raise ArgumentError(f"A prompt has {longest} tokens, the model's context is {n_ctx}.")
        self._length = min(max(self._length, _round_length(longest)), n_ctx)
        # Rows without a prompt hold a prompt of one token, since a mask may not be empty.
        rows = [*prompts, *[(0,)] * (ROWS - len(prompts))]
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(self._length) < lengths[:, None]
        inputs = make_inputs(_pad_rows(rows, self._length, 0), mask, lengths - 1)
        logits = run_full(self._model.transformer, inputs)[:, 0]  # [rows, 1 scored position, vocab]
        return np.asarray(logits, np.float32)[: len(prompts)]

    def score_logits(self, logits: Float[np.ndarray, " vocab"], prompt: TokenisedPrompt) -> float:
        """The metric of one prompt's logits, against its own answers."""
        padded = pad_prompts([prompt], self._shape.union(PromptShape.of([prompt])))
        batch = jnp.asarray(logits[None])  # [vocab] -> [1, vocab]
        targets = make_targets(padded)._replace(full_logits=batch[:, None])
        return float(run_metric(self._metric, batch, targets)[0])

    def patch_edges(
        self,
        prompts: Sequence[TokenisedPrompt],
        donors: Sequence[TokenisedPrompt],
        edges: Sequence[Sequence[int]],
    ) -> Float[np.ndarray, "two prompts"]:
        """The metric of each prompt as it is, and with some edges patched from its donor.

        Heads hide the keys that the prompt hides, as in every masked run; only what a patched edge
        carries comes from the donor's run.

        Args:
            donors: each as long as its prompt.
            edges: numbers of the edges that are patched, others for each prompt.
        """
        self._shape = self._shape.union(PromptShape.of(prompts))
        padded = pad_prompts(prompts, self._shape, donors)
        masks = np.ones((len(prompts), self._graph.n_edges), np.float32)
        for mask, patched in zip(masks, edges, strict=True):
            mask[list(patched)] = 0.0
        return np.concatenate(
            [self._launch_patches(padded, masks, part) for part in _cut_launches(len(prompts))],
            axis=1,
        )

    def _launch_patches(
        self, prompts: Prompts, masks: Float[np.ndarray, "prompts edges"], part: slice
    ) -> Float[np.ndarray, "two n"]:
        # The last prompt runs again and again where there are fewer than a launch has rows.
        rows = np.minimum(np.arange(part.start, part.start + ROWS), part.stop - 1)
        values = run_patched_edges(
            self._model.transformer,
            jnp.asarray(masks[rows]),
            self._grid,
            make_batch(prompts, rows),
            self._metric,
        )
        return np.asarray(values)[:, : part.stop - part.start]

    def make_activations(
        self,
        prompts: Sequence[TokenisedPrompt],
        positions: Int[np.ndarray, "prompts roles"],
        roles: tuple[str, ...],
    ) -> Activations:
        """Activations of the prompts, ready to be patched.

        Args:
            positions: of each role in each prompt.
        """
        self._shape = self._shape.union(PromptShape.of(prompts))
        return Activations(
            self._model,
            pad_prompts(prompts, self._shape),
            positions,
            roles,
            rows=-(-len(prompts) // (2 * ROWS)) * 2 * ROWS,
            length=self._shape.length,
            launch=2 * ROWS,
        )


def pad_prompts(
    prompts: Sequence[TokenisedPrompt],
    shape: PromptShape,
    corrupted: Sequence[TokenisedPrompt] | None = None,
) -> Prompts:
    """Any prompts as one batch of a given shape.

    Args:
        corrupted: each as long as its prompt; by default the prompts themselves. What patches drawn
            prompts never reads their task's corrupted counterparts: donors take their place.
    """
    check_at_least("the number of prompts", len(prompts), 1)
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    distractors = [prompt.distractor for prompt in prompts if prompt.distractor is not None]
    return Prompts(
        clean=_pad_rows([p.ids for p in prompts], shape.length, 0),
        corrupted=_pad_rows([p.ids for p in corrupted or prompts], shape.length, 0),
        mask=np.arange(shape.length)[None, :] < lengths[:, None],
        score_at=lengths - 1,
        answer=np.array([prompt.answer for prompt in prompts], np.int32),
        distractor=np.array(distractors, np.int32) if len(distractors) == len(prompts) else None,
        pairs=tuple(prompt.pair for prompt in prompts),
        right=_pad_rows([p.right for p in prompts], shape.right, -1) if shape.right else None,
        wrong=_pad_rows([p.wrong for p in prompts], shape.wrong, -1) if shape.wrong else None,
    )


def _pad_rows(
    rows: Sequence[Sequence[int]], width: int, fill: int
) -> Int[np.ndarray, "rows width"]:
    """Rows of different lengths as one array."""
    padded = np.full((len(rows), width), fill, np.int32)
    for to, row in zip(padded, rows, strict=True):
        to[: len(row)] = row
    return padded


def _cut_launches(n: int) -> Iterator[slice]:
    """The numbers 0 to ``n - 1`` in launches."""
    return (slice(start, min(n, start + ROWS)) for start in range(0, n, ROWS))


def _round_length(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _round_answers(n: int) -> int:
    """A power of two, so that hardly any other prompt needs more; 0 stays 0."""
    return 1 << (n - 1).bit_length() if n else 0
