"""A study: a hypothesis with the model and the task that it is about, and prompts on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int

from circuitgraph.api import load_task
from circuitgraph.errors import DataError, HypothesisError
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.program import Program
from circuitgraph.hypotheses.prompt import Prompt, make_prompts
from circuitgraph.hypotheses.unroll import Unrolled, unroll
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import load_model
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.prompts import Prompts, Split, TokenizerLike
from circuitgraph.tasks.tokenise import tokenise_pairs

N_SAMPLE = 1000  # prompts that a hypothesis is checked on before any model runs
_FEWEST_OF = 50  # a `where` that lets less than one in so many prompts pass is refused


@dataclass(frozen=True)
class Batch:
    """Prompts with their tokens, and where their roles stand.

    Attributes:
        places: index of each role of the study in each prompt.
    """

    prompts: tuple[Prompt, ...]
    tokens: Prompts
    places: Int[np.ndarray, "prompts roles"]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass
class Study:
    """A hypothesis, its model and its task.

    Attributes:
        seed: of the prompts.
        roles: the roles that its sites name, in alphabetical order.
    """

    hypothesis: Hypothesis
    model: LanguageModel
    task: Task
    seed: int = 0
    _drawn: dict[Split, list[Prompt]] = field(default_factory=dict)

    @classmethod
    def open(cls, hypothesis: Hypothesis, *, model: str | None = None, seed: int = 0) -> Study:
        """Load the model and the task that a hypothesis names; or another model.

        Raises:
            CircuitGraphError: either does not exist, or they do not fit each other.
        """
        loaded = load_model(model or hypothesis.model)
        return cls(
            hypothesis,
            loaded,
            load_task(hypothesis.task, loaded, seed=seed, **hypothesis.settings),
            seed,
        )

    @cached_property
    def program(self) -> Program:
        """The hypothesis's own program."""
        return Program.from_hypothesis(self.hypothesis)

    @cached_property
    def graph(self) -> Graph:
        """The model's graph."""
        return self.model.graph()

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The roles that sites name, those of rivals among them."""
        variables = self.hypothesis.variables
        sites = [s for v in variables for s in (*v.sites, *v.through.values())]
        sites += [
            s for rival in self.hypothesis.rivals for moved in rival.move.values() for s in moved
        ]
        sites += [e.site for e in self.hypothesis.expectations if e.site is not None]
        named = {role for site in sites for role in site.roles}
        return tuple(
            sorted(named | {e.to for e in self.hypothesis.expectations if e.to is not None})
        )

    @property
    def tokenizer(self) -> TokenizerLike:
        """The model's."""
        return self.task.tokenizer

    def prompts(self, n: int, split: Split = "evaluation") -> list[Prompt]:
        """``n`` different prompts that the hypothesis is about, the same for the same seed.

        Raises:
            DataError: the task has fewer, or `where` lets hardly any pass.
        """
        known = self._drawn.get(split, [])
        asked = n
        while len(known) < n:
            drawn = make_prompts(self.task.pairs(asked, split), self.tokenizer)
            selects = self.hypothesis.selects
            known = drawn if selects is None else [prompt for prompt in drawn if selects(prompt)]
            if len(known) * _FEWEST_OF < asked:
                raise DataError(
                    f"Only {len(known)} of {asked} prompts of task {self.task.name!r} pass the "
                    "hypothesis's `where`: use a task setting that draws them, or a wider "
                    "condition."
                )
            asked = int(1.1 * asked * max(1.0, n / max(1, len(known)))) + 1
        self._drawn[split] = known
        return known[:n]

    @cached_property
    def sample(self) -> list[Prompt]:
        """The prompts that the hypothesis is checked on, before any model runs; fewer where the
        task has fewer.

        Raises:
            DataError: there are none, or `where` lets hardly any pass.
        """
        supply = self.task.count_pairs("discovery")
        most = N_SAMPLE if supply is None else min(N_SAMPLE, supply)
        for fewer in (n for n in (300, 100, 30) if n < most):
            try:
                return self.prompts(most, "discovery")
            except DataError:  # the task's words give no more
                most = fewer
        return self.prompts(most, "discovery")

    @cached_property
    def places(self) -> Int[np.ndarray, "prompts roles"]:
        """Index of each of the study's roles in each prompt of the sample."""
        return self._places(self.sample)

    def batch(self, prompts: Sequence[Prompt]) -> Batch:
        """Prompts, tokenised, with the places of the study's roles.

        Raises:
            HypothesisError: a prompt lacks a role.
        """
        return Batch(
            tuple(prompts),
            tokenise_pairs([p.pair for p in prompts], self.tokenizer),
            self._places(prompts),
        )

    def _places(self, prompts: Sequence[Prompt]) -> Int[np.ndarray, "prompts roles"]:
        for role in self.roles:
            lacking = next((p for p in prompts if role not in p.position), None)
            if lacking is not None:
                raise HypothesisError(f"There is no role {role!r} in {lacking!r}.")
        places = np.array([[p.position[role] for role in self.roles] for p in prompts], np.int32)
        return places.reshape(len(prompts), len(self.roles))

    def unrolled(self, program: Program | None = None) -> Unrolled:
        """The tree of claims of the hypothesis's program, or of a rival's, with what is wrong with
        it.
        """
        return unroll(
            program or self.program, self.graph, lambda *ends: self._meets(self.places, *ends)
        )

    def tree(self, program: Program | None = None) -> TreeNode:
        """The tree of claims.

        Raises:
            HypothesisError: a claim has no path in the graph.
        """
        found = self.unrolled(program)
        if found.problems:
            raise HypothesisError("; ".join(f"{p.variable}: {p.message}" for p in found.problems))
        return found.root

    def _meets(
        self, places: Int[np.ndarray, "prompts roles"], writer: Site, reader: Site, feeds: str
    ) -> bool:
        """Whether, in every prompt, one of the writer's positions is read at one of the reader's."""
        if not writer.roles or not reader.roles:
            return True
        at, to = (
            places[:, [self.roles.index(role) for role in site.roles]] for site in (writer, reader)
        )
        pairs = at[:, :, None], to[:, None, :]
        seen = (
            pairs[0] <= pairs[1]
            if feeds in ("k", "v") and self.model.spec.causal
            else pairs[0] == pairs[1]
        )
        if feeds in ("k", "v") and not self.model.spec.causal:
            return True
        return bool(seen.any(axis=(1, 2)).all())
