"""Attention explained: which writers, at the query and at the key, an attention score is made of.

A score is a product of a query and a key. With the divisors of all norms on the way as they are in
this run, both are sums over the writers that the head reads, so that the score is, exactly, a sum
over pairs of a query writer and a key writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from circuitgraph.analysis.named_nodes import find_head
from circuitgraph.engine.attribution.score_parts import run_score_parts
from circuitgraph.engine.batch import unpadded_inputs
from circuitgraph.errors import ArgumentError
from circuitgraph.models.language_model import LanguageModel

BIASES = "biases"


@dataclass(frozen=True)
class ScoreParts:
    """What each pair of writers adds to the scores of one query.

    Attributes:
        head: its name. query: the position that looks.
        writers: names of the axes of ``parts``; the last one, ``biases``, stands for what no writer
            writes: biases of projections, norms and earlier attention outputs.
        parts: what a query writer (first axis) and a key writer (second axis) add to the score of
            each key, [writers, writers, keys]. They sum to ``scores``.
        scores: before a soft cap, and without biases by position such as ALiBi's.
        pattern: how much of each key's value the query takes.
    """

    head: str
    query: int
    writers: tuple[str, ...]
    parts: Float[np.ndarray, "writers writers keys"]
    scores: Float[np.ndarray, " keys"]
    pattern: Float[np.ndarray, " keys"]

    def list_strongest(self, key: int, n: int = 10) -> list[tuple[str, str, float]]:
        """The ``n`` pairs that add most to one key's score, up or down: query writer, key writer,
        what they add.
        """
        of_key = self.parts[:, :, key]
        order = np.argsort(-np.abs(of_key), axis=None, kind="stable")[:n]
        pairs = zip(*np.unravel_index(order, of_key.shape), strict=True)
        return [(self.writers[q], self.writers[k], float(of_key[q, k])) for q, k in pairs]


def explain_scores(
    model: LanguageModel, prompt: str | Sequence[int], head: str, query: int = -1
) -> ScoreParts:
    """Take the attention scores of one head and one query apart into pairs of writers.

    Args:
        prompt: a text, or token ids.
        head: its name, as in ``a5.h1``.
        query: a position in the prompt; from the end if negative.

    Raises:
        UnknownNameError: the model has no such head.
        ArgumentError: no head, a position outside the prompt, or queries and keys that are clipped
            after their projection, of which no sum can be said.
        DataError: a prompt that the model does not read.
    """
    graph, node = model.graph(), find_head(model, head)
    reader = graph.readers[graph.reader_index(f"{node}<q>")]
    if model.spec.clip_qkv is not None:
        raise ArgumentError(
            f"{model.name!r} clips queries and keys to +- {model.spec.clip_qkv}: what is clipped "
            "is no sum over writers."
        )
    (tokens,) = model.read_prompts([prompt])
    if not -len(tokens) <= query < len(tokens):
        raise ArgumentError(
            f"query is {query}, but the prompt has {len(tokens)} tokens: expected 0 to "
            f"{len(tokens) - 1}, or from the end with a minus."
        )
    seen = [writer.name for writer in graph.writers if writer.stage <= reader.stage]
    run = run_score_parts(
        model.transformer,
        unpadded_inputs(np.array([tokens])),
        np.int32(node.layer),
        np.int32(node.index),
        np.int32(query % len(tokens)),
        len(seen),
    )
    parts, scores, pattern = (np.asarray(each, np.float32) for each in run)
    return ScoreParts(str(node), query % len(tokens), (*seen, BIASES), parts, scores, pattern)
