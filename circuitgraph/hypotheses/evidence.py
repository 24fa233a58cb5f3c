"""Evidence: a study's prompts with everything that is measured on them, each thing once and when it
is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.tree.activations import Pool
from circuitgraph.engine.tree.run import Outcome, run_tree
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.study import Batch, Study
from circuitgraph.tasks.metrics import metrics

T = TypeVar("T")
N_PROMPTS = 2000


@dataclass
class Evidence:
    """Prompts that nobody has looked at while writing the hypothesis, and what the model does on
    them.

    Attributes:
        n: how many prompts of the evaluation split.
        seed: of all that is drawn beside the prompts.
        memory: limit in bytes of the activations that are kept.
    """

    study: Study
    n: int = N_PROMPTS
    seed: int = 0
    bar: bool = False
    memory: int | None = None
    _made: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def batch(self) -> Batch:
        """The prompts."""
        return self.study.batch(self.study.prompts(self.n))

    @cached_property
    def pool(self) -> Pool:
        """The same, ready to run."""
        return Pool(
            self.study.model,
            self.batch.tokens,
            self.batch.places,
            self.study.roles,
            memory=self.memory,
        )

    @cached_property
    def codes(self) -> dict[str, Int[np.ndarray, " pool"]]:
        """The class of each variable's value on each prompt."""
        return self.study.program.compute_codes(self.batch.prompts)

    @cached_property
    def layouts(self) -> Int[np.ndarray, " pool"]:
        """Equal numbers for prompts of equal length with their roles at equal places."""
        return layouts_of(self.batch)

    @property
    def metric(self) -> str:
        """The name of what the loss is."""
        return self.study.hypothesis.metric or self.study.task.metric

    def losses(self, outcome: Outcome) -> Float[np.ndarray, " pool"]:
        """The first metric of an outcome, turned so that lower is better."""
        return -outcome.values[0] if metrics[self.metric].higher_is_better else outcome.values[0]

    @cached_property
    def plain(self) -> Outcome:
        """The untouched model: its metric, and what it says."""
        own = np.arange(len(self.batch))
        output = self.study.program.variables[self.study.program.output]
        root = TreeNode((output.name,), output.name, output.sites[0])
        return run_tree(self.pool, root, own, {root.path: own}, [self.metric])

    @cached_property
    def follows_program(self) -> Bool[np.ndarray, " pool"]:
        """Whether the model says what the program says."""
        said = self.texts(self.plain.top)
        return np.array(
            [
                t in self.study.program.compute_answers(p)
                for t, p in zip(said, self.batch.prompts, strict=True)
            ]
        )

    def once(self, make: Callable[[Evidence], T]) -> T:
        """What a function makes of these prompts, made when it is first asked for."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def texts(self, tokens: Int[np.ndarray, " n"]) -> list[str]:
        """Tokens as text, without spaces around them."""
        known = {int(t): self.study.tokenizer.decode([int(t)]).strip() for t in np.unique(tokens)}
        return [known[int(t)] for t in tokens]


def layouts_of(batch: Batch) -> Int[np.ndarray, " prompts"]:
    """Equal numbers for prompts of equal length with their roles at equal places."""
    return number_classes(
        (len(p), *map(int, at)) for p, at in zip(batch.prompts, batch.places, strict=True)
    )
