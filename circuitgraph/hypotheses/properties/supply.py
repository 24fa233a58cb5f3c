"""Where a study's prompts come from: its grammar, with any generator of choices, and a pool of
prompts drawn before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.chooser import Chooser
from circuitgraph.hypotheses.properties.donors import Donors, anywhere, layout, value_of
from circuitgraph.hypotheses.properties.relabel import Relabeller
from circuitgraph.hypotheses.properties.tokens import Shape, Tokens
from circuitgraph.hypotheses.study import Study
from circuitgraph.tasks.base import SPLITS, GrammarTask

POOL = 2000
_DRAWS = 20 * POOL  # after so many, what was found is the pool
_TRIES = 4  # drawn from the grammar before the pool is asked
_POOL_SEED, _MEASURE_SEED = 2, 3  # beside those of the splits


class Supply:
    """Prompts of one study.

    Attributes:
        tokens: the tokenizer, with a memory.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.tokens = Tokens(study.tokenizer)
        self._donors: dict[tuple[str, bool], Donors] = {}

    def fits(self, prompt: Prompt) -> bool:
        """Whether the hypothesis is about it, and its roles are there."""
        selects = self.study.hypothesis.selects
        return all(role in prompt.position for role in self.study.roles) and (
            selects is None or bool(selects(prompt))
        )

    def draw(self, rng: np.random.Generator) -> Prompt:
        """A prompt of the grammar; the first that fits of a few, else one of the pool."""
        task = self.study.task
        if isinstance(task, GrammarTask):
            for _ in range(_TRIES):
                prompt = self.tokens.prompt(task.source.draw(rng))
                if self.fits(prompt):
                    return prompt
        return self.pool[int(rng.integers(len(self.pool)))]

    @cached_property
    def pool(self) -> tuple[Prompt, ...]:
        """Different prompts that fit, always the same, the shortest and those of the first words
        first.

        Raises:
            HypothesisError: none fits.
        """
        found: dict[tuple[int, ...], Prompt] = {}
        for prompt in self._all():
            if self.fits(prompt):
                found.setdefault(prompt.ids, prompt)
            if len(found) == POOL:
                break
        if not found:
            raise HypothesisError(
                f"None of {_DRAWS} prompts of task {self.study.task.name!r} passes the hypothesis's "
                f"`where` and has the roles {', '.join(self.study.roles)}: use a task setting that "
                "draws them, or a wider condition."
            )
        return tuple(sorted(found.values(), key=lambda prompt: (len(prompt), prompt.ids)))

    def _all(self) -> Iterable[Prompt]:
        task = self.study.task
        if isinstance(task, GrammarTask):
            rng = np.random.default_rng([self.study.seed, _POOL_SEED])
            return (self.tokens.prompt(task.source.draw(rng)) for _ in range(_DRAWS))
        return (
            self.tokens.prompt(pair)
            for split in SPLITS
            for pair in task.pairs(task.supply(split) or POOL, split)
        )

    @cached_property
    def shape(self) -> Shape:
        """Of batches: as large as the pool's largest prompts need."""
        return Shape.of(self.pool)

    @cached_property
    def bytes_per_prompt(self) -> int:
        """How many bytes most prompts' choices take."""
        rng = np.random.default_rng([self.study.seed, _MEASURE_SEED])
        taken = []
        for _ in range(20):
            chooser = Chooser(lambda: rng.bytes(64))
            self.draw(chooser)
            taken.append(chooser.taken)
        return max(8, -(-sorted(taken)[17] // 8) * 8)

    def donors(self, variable: str, *, same_layout: bool) -> Donors:
        """The pool in classes of a variable's value."""
        if (variable, same_layout) not in self._donors:
            value = value_of(self.study.program, variable)
            self._donors[variable, same_layout] = Donors(
                self.pool, value, layout if same_layout else anywhere
            )
        return self._donors[variable, same_layout]

    @cached_property
    def of_same_layout(self) -> Donors:
        """The pool in classes of prompts whose roles stand at the same places."""
        return Donors(self.pool, layout)

    @cached_property
    def relabeller(self) -> Relabeller:
        """Draws relabellings; raises `HypothesisError` if the task has no words for it."""
        return Relabeller(self.study.task, self.tokens)
