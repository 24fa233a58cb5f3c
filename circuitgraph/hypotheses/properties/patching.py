"""Properties of the library that patch the model from a donor.

They are equality, interchange, irrelevance and minimality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from circuitgraph.choices import Choices
from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.tree.activations import Activations
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import swap_sites
from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.program import format_value
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.base import (
    CLASS_OF_ONE,
    CaseResult,
    ExistenceCheck,
    PropertyCase,
    PropertyCheck,
    check_number,
    library,
)
from circuitgraph.hypotheses.properties.context import PropertyContext
from circuitgraph.hypotheses.properties.running import format_texts

_N_MINIMALITY = 256  # prompts one of which each edge must hurt
_MOST_NAMED = 4  # edges that are named beside a failure


@library.register("equality")
class EqualityCheck(PropertyCheck):
    """What `of` carries, taken from a donor of equal value, moves the metric by at most
    `at_most`.
    """

    n_about, n_bytes = 1, 4

    def __init__(self, context: PropertyContext, of: tuple[str, ...], *, at_most: float) -> None:
        super().__init__(context, of)
        self._at_most = check_number("at_most", at_most)
        tree = prune_tree(context.tree, of[0])
        if tree is None:
            raise HypothesisError(
                f"{of[0]!r} is on no claimed path: give it a site, or use a variable that has one."
            )
        self._tree = tree
        self._donors = context.source.group_donors(
            of[0], same_layout=context.study.hypothesis.align == "index"
        )

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        donor = self._donors.draw_donor(rng, prompt, equal=True) or prompt
        return PropertyCase(prompt, donor, notes=note_class_of_one(prompt, donor))

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        activations, prompts, donors = make_activations(self.context, cases)
        # One launch for both: the patched runs, then the plain ones.
        n, rows = len(prompts), np.concatenate([prompts, prompts])
        inputs = {node.path: rows for node in self._tree.walk()}
        leaves = (node.path for node in self._tree.walk() if node.variable == self.of[0])
        inputs |= dict.fromkeys(leaves, np.concatenate([donors, prompts]))
        metric = self.context.metric
        values = run_tree(activations, self._tree, rows, inputs, [metric]).values[0].tolist()
        return [
            compare_metric(metric, before, after, self._at_most)
            for before, after in zip(values[n:], values[:n], strict=True)
        ]


@library.register("interchange")
class InterchangeCheck(PropertyCheck):
    """With `of` taken from a donor of another value, the model says what the program says with that
    value.
    """

    n_about, n_bytes = 1, 4

    def __init__(self, context: PropertyContext, of: tuple[str, ...]) -> None:
        super().__init__(context, of)
        self._sites = context.find_variable(of[0]).sites
        if not self._sites or of[0] == context.program.output:
            raise HypothesisError(
                f"{of[0]!r} has no site in the model whose value could be swapped."
            )
        self._donors = context.source.group_donors(of[0], same_layout=True)

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        donor = self._donors.draw_donor(rng, prompt, equal=False)
        if donor is None:
            return PropertyCase(prompt, notes=("no donor",))
        return PropertyCase(prompt, donor)

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        activations, prompts, donors = make_activations(self.context, cases)
        swapped = swap_sites(
            activations, prompts, dict.fromkeys(self._sites, donors), [self.context.metric]
        )
        return [
            self._compare_answer(case, int(token))
            for case, token in zip(cases, swapped.top, strict=True)
        ]

    def _compare_answer(self, case: PropertyCase, token: int) -> CaseResult:
        if case.donor is None:
            return CaseResult(vacuous="no donor of another value and the same layout")
        program, name = self.context.program, self.of[0]
        value = program.compute_values(case.donor)[name]
        expected = program.compute_answers(case.prompt, {name: value})
        if not expected:
            return CaseResult(vacuous="the program says nothing after the swap")
        answer = self.context.source.tokens.decode_token(token)
        if answer in expected:
            return CaseResult()
        return CaseResult(
            f"with {name} = {format_value(value)} the program says {format_texts(expected)}, the "
            f"model {answer!r}"
        )


@library.register("irrelevance")
class IrrelevanceCheck(PropertyCheck):
    """Unclaimed edges, any of them, patched from a donor of the same layout, move the metric by at
    most `at_most`.
    """

    def __init__(self, context: PropertyContext, of: tuple[str, ...], *, at_most: float) -> None:
        super().__init__(context, of)
        self._at_most = check_number("at_most", at_most)
        graph = context.study.graph
        claimed = {graph.edge_index(edge) for edge in context.claimed_edges}
        self._edges = graph.edges
        self._unclaimed = np.array([i for i in range(graph.n_edges) if i not in claimed], np.int64)
        self._n_bytes_of_bits = -(-len(self._unclaimed) // 8)
        self.n_bytes = 4 * self._n_bytes_of_bits + 8  # type: ignore[misc]

    def draw_case(self, rng: Choices, prompt: Prompt) -> PropertyCase:
        """Each edge with a chance of 1/2, or of 1/4, 1/8, 1/16.

        The edges are a string of bits, which shrinks edge by edge.
        """
        donor = self.context.source.donors_of_layout.draw_donor(rng, prompt, equal=True) or prompt
        bits = np.frombuffer(rng.bytes(self._n_bytes_of_bits), np.uint8)
        for _ in range(int(rng.integers(4))):
            bits = bits & np.frombuffer(rng.bytes(self._n_bytes_of_bits), np.uint8)
        is_patched = np.unpackbits(bits)[: len(self._unclaimed)]
        edges = self._unclaimed[np.flatnonzero(is_patched)].tolist()
        return PropertyCase(
            prompt,
            donor,
            edges=tuple(edges),
            edges_text=self._format_edges(edges),
            notes=note_class_of_one(prompt, donor),
        )

    def _format_edges(self, edges: Sequence[int]) -> str:
        text = ", ".join(self._edges[i] for i in edges[:_MOST_NAMED]) or "none"
        n_more = len(edges) - _MOST_NAMED
        return f"{text} and {n_more} more" if n_more > 0 else text

    def check_cases(self, cases: Sequence[PropertyCase]) -> list[CaseResult]:
        metric = self.context.metric
        return [
            compare_metric(metric, before, after, self._at_most)
            for before, after in patch_edges(self.context, cases).T.tolist()
        ]


@library.register("minimality")
class MinimalityCheck(ExistenceCheck):
    """Each claimed edge, patched alone from the corrupted prompt, costs some prompt `at_least`."""

    def __init__(
        self,
        context: PropertyContext,
        of: tuple[str, ...],
        *,
        at_least: float,
        n: int | None = None,
    ) -> None:
        super().__init__(context, of)
        self._at_least = check_number("at_least", at_least)
        self._n = None if n is None else int(check_number("n", n))

    def reach_verdict(self) -> Verdict:
        study, claimed = self.context.study, self.context.claimed_edges
        n = study.limit_prompts(_N_MINIMALITY) if self._n is None else self._n
        prompts = study.prompts(n)
        experiment = Experiment(
            study.model, study.batch(prompts).tokens, metric=self.context.metric
        )
        # The first mask keeps all edges, each of the others lacks one claimed edge.
        masks = np.ones((1 + len(claimed), experiment.graph.n_edges), bool)
        for row, edge in enumerate(claimed, 1):
            masks[row, experiment.graph.edge_index(edge)] = False
        values = experiment.values(masks).astype(np.float64)
        losses = experiment.metric.to_loss(values)
        costs = losses[1:] - losses[0]
        worst = costs.argmax(axis=1)
        lines = [
            f"{edge}: at most {costs[i, worst[i]]:.3g}, on {prompts[worst[i]]!r}"
            for i, edge in enumerate(claimed)
            if costs[i, worst[i]] < self._at_least
        ]
        summary = (
            f"minimality: {len(claimed) - len(lines)} of {len(claimed)} claimed edges cost some "
            f"prompt {self._at_least:g} or more, {len(prompts)} evaluation prompts"
        )
        return Verdict(not lines, summary, "\n".join(lines))


def prune_tree(node: TreeNode, variable: str) -> TreeNode | None:
    """The paths of a tree that lead to a variable, which becomes their leaf; None if none does."""
    if node.variable == variable:
        return replace(node, children=())
    pruned = (prune_tree(child, variable) for child in node.children)
    children = tuple(child for child in pruned if child is not None)
    return replace(node, children=children) if children else None


def list_sides(cases: Sequence[PropertyCase]) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of cases, and their donors. A case without a donor is its own."""
    return [case.prompt for case in cases], [case.donor or case.prompt for case in cases]


def make_activations(
    context: PropertyContext, cases: Sequence[PropertyCase]
) -> tuple[Activations, Int[np.ndarray, " cases"], Int[np.ndarray, " cases"]]:
    """Activations of prompts and donors, and the rows of both."""
    prompts, donors = list_sides(cases)
    rows = np.arange(len(cases))
    return context.make_activations([*prompts, *donors]), rows, len(cases) + rows


def patch_edges(
    context: PropertyContext, cases: Sequence[PropertyCase]
) -> Float[np.ndarray, "two cases"]:
    """The metric of each case's prompt as it is, and with the case's edges patched from its donor.

    Raises:
        HypothesisError: the metric needs distractors that the task does not have.
    """
    runner = context.runner
    if runner.metric.needs_distractor and any(c.prompt.distractor is None for c in cases):
        raise HypothesisError(
            f"Metric {runner.metric.name!r} needs a distractor for every prompt: choose another "
            "metric=."
        )
    prompts, donors = (
        [runner.tokens.tokenise_prompt(prompt) for prompt in side] for side in list_sides(cases)
    )
    return runner.runs.patch_edges(prompts, donors, [case.edges for case in cases])


def note_class_of_one(prompt: Prompt, donor: Prompt) -> tuple[str, ...]:
    """The note of a case whose prompt is its own donor."""
    return (CLASS_OF_ONE,) if donor.ids == prompt.ids else ()


def compare_metric(metric: str, before: float, after: float, at_most: float) -> CaseResult:
    """Whether a metric has moved too far."""
    distance = abs(after - before)
    failure = ""
    if distance > at_most:
        failure = f"{metric} goes from {before:.4g} to {after:.4g}, by more than {at_most:g}"
    return CaseResult(failure, distance)
