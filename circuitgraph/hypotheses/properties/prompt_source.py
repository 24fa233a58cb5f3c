"""Where a study's prompts come from: its grammar with any choices, and a pool drawn before."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from circuitgraph.choices import Choices
from circuitgraph.errors import HypothesisError
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.chooser import Chooser
from circuitgraph.hypotheses.properties.donors import (
    DonorPool,
    constant_key,
    layout_key,
    value_key,
)
from circuitgraph.hypotheses.properties.relabel import Relabeller
from circuitgraph.hypotheses.properties.tokens import TokenCache
from circuitgraph.hypotheses.study import Study
from circuitgraph.tasks.base import GrammarTask
from circuitgraph.tasks.prompts import SPLITS

POOL = 2000
_DRAWS = 20 * POOL  # after so many draws the pool is what it is
_TRIES = 4  # prompts drawn from the grammar before one of the pool is taken
_POOL_SEED, _MEASURE_SEED = 2, 3  # beside those of the splits


class PromptSource:
    """Prompts of one study.

    Attributes:
        tokens: the tokenizer, with a memory.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.tokens = TokenCache(study.tokenizer)
        self._donors: dict[tuple[str, bool], DonorPool] = {}

    def accepts_prompt(self, prompt: Prompt) -> bool:
        """Whether the hypothesis is about the prompt, and the prompt has its roles."""
        selects = self.study.hypothesis.selects
        return all(role in prompt.position for role in self.study.roles) and (
            selects is None or bool(selects(prompt))
        )

    def draw_prompt(self, rng: Choices) -> Prompt:
        """A prompt of the grammar: the first of a few that is accepted, else one of the pool."""
        task = self.study.task
        if isinstance(task, GrammarTask):
            for _ in range(_TRIES):
                prompt = self.tokens.make_prompt(task.source.draw(rng))
                if self.accepts_prompt(prompt):
                    return prompt
        return self.pool[int(rng.integers(len(self.pool)))]

    def describe_drawn(self) -> str:
        """Where `draw_prompt` takes prompts from, in words."""
        if not isinstance(self.study.task, GrammarTask):
            return self.describe_pool()
        passing = "" if self.study.hypothesis.selects is None else ", where `where` lets them pass"
        return f"drawn from the grammar of {self.study.task.name!r}{passing}"

    def describe_pool(self) -> str:
        """What the pool holds, in words."""
        n = f"{len(self.pool):,}"
        if isinstance(self.study.task, GrammarTask):
            return f"of {n} prompts drawn from it"
        return f"of the {n} prompts of {self.study.task.name!r}, of all splits"

    @cached_property
    def pool(self) -> tuple[Prompt, ...]:
        """Different accepted prompts, always the same; the shortest and of first words come first.

        Raises:
            HypothesisError: no prompt is accepted.
        """
        prompts: dict[tuple[int, ...], Prompt] = {}
        for prompt in self._draw_all():
            if self.accepts_prompt(prompt):
                prompts.setdefault(prompt.ids, prompt)
            if len(prompts) == POOL:
                break
        if not prompts:
            raise HypothesisError(
                f"None of {_DRAWS} prompts of task {self.study.task.name!r} passes the "
                f"hypothesis's `where` and has the roles {', '.join(self.study.roles)}: use a "
                "task setting that draws them, or a wider condition."
            )
        return tuple(sorted(prompts.values(), key=lambda prompt: (len(prompt), prompt.ids)))

    def _draw_all(self) -> Iterable[Prompt]:
        task = self.study.task
        if isinstance(task, GrammarTask):
            rng = np.random.default_rng([self.study.seed, _POOL_SEED])
            return (self.tokens.make_prompt(task.source.draw(rng)) for _ in range(_DRAWS))
        return (
            self.tokens.make_prompt(pair)
            for split in SPLITS
            for pair in task.pairs(task.count_pairs(split) or POOL, split)
        )

    @cached_property
    def bytes_per_prompt(self) -> int:
        """How many bytes most prompts' choices take."""
        rng = np.random.default_rng([self.study.seed, _MEASURE_SEED])
        n_bytes = []
        for _ in range(20):
            chooser = Chooser(lambda: rng.bytes(64))
            self.draw_prompt(chooser)
            n_bytes.append(chooser.n_read)
        return max(8, -(-sorted(n_bytes)[17] // 8) * 8)  # nine of ten prompts, in whole 8 bytes

    def group_donors(self, variable: str, *, same_layout: bool) -> DonorPool:
        """The pool in classes of a variable's value."""
        if (variable, same_layout) not in self._donors:
            self._donors[variable, same_layout] = DonorPool(
                self.pool,
                value_key(self.study.program, variable),
                layout_key if same_layout else constant_key,
            )
        return self._donors[variable, same_layout]

    @cached_property
    def donors_of_layout(self) -> DonorPool:
        """The pool in classes of prompts whose roles stand at the same positions."""
        return DonorPool(self.pool, layout_key)

    @cached_property
    def relabeller(self) -> Relabeller:
        """Draws relabellings; raises `HypothesisError` if the task has no words for it."""
        return Relabeller(self.study.task, self.tokens)
