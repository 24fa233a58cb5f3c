"""Values of a model to train a dictionary on, a block of tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from circuitgraph.engine.splice import collect_values
from circuitgraph.models.dictionaries.checking import count_width
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.prompts import Prompts
from circuitgraph.tasks.token_file import TokenFile, pad_sequences

_BLOCK_BYTES = 2**27  # of the values of one block
_AT_ONCE = 50  # steps of one launch
Values = list[Float[np.ndarray, "tokens width"]]


@dataclass(frozen=True)
class ValueBlocks:
    """The values of many tokens, of which no more than one block is in memory.

    Attributes:
        n_tokens: of a block; all blocks have equally many.
        read: the values of one block, for each place.
    """

    n_blocks: int
    n_tokens: int
    read: Callable[[int], Values]

    def plan_launch(self, step: int, batch: int, n_steps: int) -> tuple[int, int]:
        """Which block a step sees, and how many steps to take from it on in one launch.

        A block is stayed with for about as many steps as it has batches. One comes after the
        other, or, where the steps do not suffice for all, some at equal distances.
        """
        stay = -(-self.n_tokens // (batch * _AT_ONCE)) * _AT_ONCE
        stay = n_steps if self.n_blocks == 1 else stay
        visit, n_visits = step // stay, -(-n_steps // stay)
        block = visit if n_visits >= self.n_blocks else visit * self.n_blocks // n_visits
        return block % self.n_blocks, min(_AT_ONCE, n_steps - step, stay - step % stay)


def collect_prompt_values(
    model: LanguageModel, prompts: Prompts, hooks: Sequence[Hook]
) -> ValueBlocks:
    """The values of clean prompts, in one block."""
    values = collect_values(model.transformer, prompts.clean, prompts.mask, hooks)
    return ValueBlocks(1, len(values[0]), lambda _: values)


def cut_token_file(model: LanguageModel, file: TokenFile, hooks: Sequence[Hook]) -> ValueBlocks:
    """The values of the tokens of a file, in as many blocks as their size makes necessary.

    All blocks have equally many tokens; what is left at the end, less than one for each, is not
    used.
    """
    n_bytes = 4 * file.n_tokens * sum(count_width(hook, model.spec) for hook in hooks)
    n_blocks = min(file.n_tokens, max(1, -(-n_bytes // _BLOCK_BYTES)))
    size = file.n_tokens // n_blocks

    @lru_cache(maxsize=1)  # the first one is asked for twice
    def read_block(number: int) -> Values:
        start = number * size
        sequences, skip = file.read_sequences(start, start + size)
        tokens, mask = pad_sequences(sequences, file.context)
        values = collect_values(model.transformer, tokens, mask, hooks)
        return [each[skip : skip + size] for each in values]

    return ValueBlocks(n_blocks, size, read_block)
