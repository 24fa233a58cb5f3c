"""Evidence: a study's prompts with all that is measured on them, each thing once, when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.run import Outcome, run_tree
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.program import number_classes
from circuitgraph.hypotheses.study import PromptBatch, Study
from circuitgraph.tasks.metrics import metrics

T = TypeVar("T")
N_PROMPTS = 2000


@dataclass
class Evidence:
    """Prompts that nobody has looked at while writing the hypothesis, and the model's runs on them.

    Attributes:
        n: how many prompts of the evaluation split.
        seed: of all that is drawn beside the prompts.
        memory: limit in bytes of the activations that are kept.
        results: what functions have computed from this evidence; see `cache_on_evidence`.
    """

    study: Study
    n: int = N_PROMPTS
    seed: int = 0
    bar: bool = False
    memory: int | None = None
    results: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    @cached_property
    def batch(self) -> PromptBatch:
        """The prompts."""
        return self.study.batch(self.study.prompts(self.n))

    @cached_property
    def activations(self) -> Activations:
        """The activations of the prompts, computed when they are needed."""
        return Activations(
            self.study.model,
            self.batch.tokens,
            self.batch.positions,
            self.study.roles,
            memory=self.memory,
        )

    @cached_property
    def codes(self) -> dict[str, Int[np.ndarray, " pool"]]:
        """The class of each variable's value on each prompt."""
        return self.study.program.compute_codes(self.batch.prompts)

    @cached_property
    def layouts(self) -> Int[np.ndarray, " pool"]:
        """Equal numbers for prompts of equal length with their roles at equal positions."""
        layouts = zip(self.batch.prompts, self.batch.positions, strict=True)
        return number_classes((len(prompt), *map(int, row)) for prompt, row in layouts)

    @property
    def metric(self) -> str:
        """The name of what the loss is."""
        return self.study.hypothesis.metric or self.study.task.metric

    def compute_losses(self, outcome: Outcome) -> Float[np.ndarray, " pool"]:
        """The first metric of an outcome, with the sign for which lower is better."""
        return metrics[self.metric].to_loss(outcome.values[0])

    @cached_property
    def plain_outcome(self) -> Outcome:
        """The untouched model: the metric, and its most likely tokens."""
        return self.run_plain(self.metric)

    def run_plain(self, metric: str) -> Outcome:
        """The untouched model, measured by any metric."""
        own = np.arange(len(self.batch))
        output = self.study.program.variables[self.study.program.output]
        root = TreeNode((output.name,), output.name, output.sites[0])
        return run_tree(self.activations, root, own, {root.path: own}, [metric])

    @cached_property
    def follows_program(self) -> Bool[np.ndarray, " pool"]:
        """Whether the model says what the program says."""
        texts = self.decode_tokens(self.plain_outcome.top)
        answers = map(self.study.program.compute_answers, self.batch.prompts)
        return np.array([text in right for text, right in zip(texts, answers, strict=True)])

    def decode_tokens(self, tokens: Int[np.ndarray, " n"]) -> list[str]:
        """Tokens as text, without spaces around them."""
        tokenizer = self.study.tokenizer
        texts = {
            int(token): tokenizer.decode_answer(int(token)).strip() for token in np.unique(tokens)
        }
        return [texts[int(token)] for token in tokens]


def choose_count(study: Study, n: int | None) -> int:
    """How many prompts to take: ``n``; if None, 2,000, or all of a file that has fewer."""
    return study.limit_prompts(N_PROMPTS) if n is None else n


def cache_on_evidence(compute: Callable[[Evidence], T]) -> Callable[[Evidence], T]:
    """Let a function of evidence keep its result with the evidence, so that it runs once."""

    @wraps(compute)
    def compute_once(evidence: Evidence) -> T:
        if compute not in evidence.results:
            evidence.results[compute] = compute(evidence)
        return evidence.results[compute]

    return compute_once
