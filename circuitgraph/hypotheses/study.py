"""A study: a hypothesis with the model and the task that it is about, and prompts on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from circuitgraph.catalog.folders import find_beside
from circuitgraph.errors import DataError, HypothesisError
from circuitgraph.graph.graph import Graph
from circuitgraph.graph.site import Site
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.program import Program
from circuitgraph.hypotheses.prompt import Prompt, make_prompts
from circuitgraph.hypotheses.unroll import Unrolled, unroll_program
from circuitgraph.models.dictionaries.files import find_dictionary
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.models.loading import find_model, load_model
from circuitgraph.tasks.base import Task
from circuitgraph.tasks.loading import is_pairs_file, load_task
from circuitgraph.tasks.prompts import Prompts, Split, TokenizerLike
from circuitgraph.tasks.tokenise import tokenise_pairs

N_SAMPLE = 1000  # prompts that a hypothesis is checked on before any model runs
_FEWEST_OF = 50  # a `where` that lets less than one in so many prompts pass is refused


@dataclass(frozen=True)
class PromptBatch:
    """Prompts with their tokens, and the positions of their roles.

    Attributes:
        positions: index of each role of the study in each prompt.
    """

    prompts: tuple[Prompt, ...]
    tokens: Prompts
    positions: Int[np.ndarray, "prompts roles"]

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
    _prompts: dict[Split, list[Prompt]] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        hypothesis: Hypothesis,
        *,
        model: str | None = None,
        seed: int = 0,
        loading: Mapping[str, Any] | None = None,
    ) -> Study:
        """Load the model and the task that a hypothesis names; or another model.

        Args:
            loading: keywords of `circuitgraph.load_model`; ``dictionaries`` among them stand in
                place of those that the hypothesis names.

        Raises:
            CircuitGraphError: either does not exist, or they do not fit each other.
        """
        file = hypothesis.location.file
        names = [find_dictionary(each.name, file) for each in hypothesis.dictionaries]
        keywords = {**({"dictionaries": names} if names else {}), **(loading or {})}
        loaded = load_model(model or find_model(hypothesis.model, file), **keywords)
        name = hypothesis.task
        if is_pairs_file(name):
            name = find_beside(name, file)
        task = load_task(name, loaded, seed=seed, **hypothesis.settings)
        return cls(hypothesis, loaded, task, seed)

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
        """The roles that sites name, the sites of rivals among them."""
        variables, expectations = (self.hypothesis.variables, self.hypothesis.expectations)
        moves = [sites for rival in self.hypothesis.rivals for sites in rival.move.values()]
        sites = [
            *(site for v in variables for site in (*v.sites, *v.through.values())),
            *(site for moved in moves for site in moved),
            *(e.site for e in expectations if e.site is not None),
        ]
        named = {role for site in sites for role in site.roles}
        return tuple(sorted(named | {e.to for e in expectations if e.to is not None}))

    @property
    def tokenizer(self) -> TokenizerLike:
        """The model's tokenizer."""
        return self.task.tokenizer

    def prompts(self, n: int, split: Split = "evaluation") -> list[Prompt]:
        """``n`` different prompts that the hypothesis is about, the same for the same seed.

        Raises:
            DataError: the task has fewer, or `where` lets hardly any pass.
        """
        passing, supply = self._prompts.get(split, []), self.task.count_pairs(split)
        n_draws = n
        while len(passing) < n:
            if supply is not None and n <= supply:
                n_draws = min(n_draws, supply)
            drawn = make_prompts(self.task.pairs(n_draws, split), self.tokenizer)
            selects = self.hypothesis.selects
            passing = drawn if selects is None else [prompt for prompt in drawn if selects(prompt)]
            if len(passing) * _FEWEST_OF < n_draws:
                raise DataError(
                    f"Only {len(passing)} of {n_draws} prompts of task {self.task.name!r} pass the "
                    "hypothesis's `where`: use a task setting that draws them, or a wider "
                    "condition."
                )
            if n_draws == supply and len(passing) < n:
                raise DataError(
                    f"The hypothesis is about {len(passing)} of the {supply} {split} prompts of "
                    f"{self.task.name!r}, but {n} were asked for. Add lines or ask for fewer."
                )
            # A tenth more than the share that passed asks for, so that a second draw suffices.
            n_draws = int(1.1 * n_draws * max(1.0, n / max(1, len(passing)))) + 1
        self._prompts[split] = passing
        return passing[:n]

    def limit_prompts(self, n: int, split: Split = "evaluation") -> int:
        """``n``, or how many prompts the hypothesis is about, where a file has fewer.

        What takes a number that nobody has given asks here first.
        """
        supply, selects = self.task.count_pairs(split), self.hypothesis.selects
        if not supply or selects is None:
            return n if supply is None else min(n, max(1, supply))
        prompts = make_prompts(self.task.pairs(supply, split), self.tokenizer)
        return min(n, max(1, sum(bool(selects(prompt)) for prompt in prompts)))

    @cached_property
    def sample(self) -> list[Prompt]:
        """The prompts that the hypothesis is checked on; fewer where the task has fewer.

        Raises:
            DataError: there are none, or `where` lets hardly any pass.
        """
        most = self.limit_prompts(N_SAMPLE, "discovery")
        for fewer in (n for n in (300, 100, 30) if n < most):
            try:
                return self.prompts(most, "discovery")
            except DataError:  # the task's words give no more
                most = fewer
        return self.prompts(most, "discovery")

    @cached_property
    def sample_positions(self) -> Int[np.ndarray, "prompts roles"]:
        """Index of each of the study's roles in each prompt of the sample."""
        return self.find_positions(self.sample)

    def batch(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """Prompts, tokenised, with the positions of the study's roles.

        Raises:
            HypothesisError: a prompt lacks a role, or is scored at several positions.
        """
        tokens = tokenise_pairs([prompt.pair for prompt in prompts], self.tokenizer)
        if tokens.scores is not None:
            what = "answers of several tokens" if tokens.scores == "tokens" else "several positions"
            raise HypothesisError(
                f"A hypothesis is tested at one scored position, with answers of one token each, "
                f"but the task {self.task.name!r} scores {what}. Use pairs with one."
            )
        return PromptBatch(tuple(prompts), tokens, self.find_positions(prompts))

    def find_positions(self, prompts: Sequence[Prompt]) -> Int[np.ndarray, "prompts roles"]:
        """Index of each of the study's roles in each prompt.

        Raises:
            HypothesisError: a prompt lacks a role.
        """
        for role in self.roles:
            lacking = next((p for p in prompts if role not in p.position), None)
            if lacking is not None:
                raise HypothesisError(f"There is no role {role!r} in {lacking!r}.")
        positions = np.array([[p.position[role] for role in self.roles] for p in prompts], np.int32)
        return positions.reshape(len(prompts), len(self.roles))  # also without prompts or roles

    def unroll_claims(self, program: Program | None = None) -> Unrolled:
        """The tree of claims of the own program, or of a rival's, and what is wrong with it."""
        return unroll_program(program or self.program, self.graph, self._share_position)

    def tree(self, program: Program | None = None) -> TreeNode:
        """The tree of claims.

        Raises:
            HypothesisError: a claim has no path in the graph.
        """
        unrolled = self.unroll_claims(program)
        if unrolled.problems:
            problems = [f"{p.variable}: {p.message}" for p in unrolled.problems]
            raise HypothesisError("; ".join(problems))
        return unrolled.root

    def _share_position(self, writer: Site, reader: Site, feeds: str) -> bool:
        """Whether every prompt has a position of the writer that is read at one of the reader."""
        positions = self.sample_positions
        if not writer.roles or not reader.roles:
            return True
        if feeds in ("k", "v") and not self.model.spec.causal:
            return True
        writer_at, reader_at = (
            positions[:, [self.roles.index(role) for role in site.roles]]
            for site in (writer, reader)
        )
        # [prompts, writer's roles, reader's roles]
        writer_at, reader_at = writer_at[:, :, None], reader_at[:, None, :]
        meets = writer_at <= reader_at if feeds in ("k", "v") else writer_at == reader_at
        return bool(meets.any(axis=(1, 2)).all())
