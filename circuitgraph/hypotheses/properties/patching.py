"""Properties of the library that patch the model from a donor: equality, interchange, irrelevance,
minimality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from circuitgraph.engine.experiment import Experiment
from circuitgraph.engine.tree.run import run_tree
from circuitgraph.engine.tree.swap import swap
from circuitgraph.errors import HypothesisError
from circuitgraph.graph.tree import TreeNode
from circuitgraph.hypotheses.diagnostics import Verdict
from circuitgraph.hypotheses.program import format_value
from circuitgraph.hypotheses.prompt import Prompt
from circuitgraph.hypotheses.properties.checks import (
    Case,
    Check,
    Existence,
    Finding,
    library,
    number,
)
from circuitgraph.hypotheses.properties.edges import EdgePatches
from circuitgraph.hypotheses.properties.running import texts
from circuitgraph.hypotheses.properties.strategies import CLASS_OF_ONE
from circuitgraph.hypotheses.properties.subject import Subject

_SAMPLE = 256  # prompts among which one must be hurt


@library.register("equality")
class Equality(Check):
    """What `of` carries, taken from a donor of equal value, moves the metric by at most `at_most`."""

    n_about, n_bytes = 1, 4

    def __init__(self, subject: Subject, of: tuple[str, ...], *, at_most: float) -> None:
        super().__init__(subject, of)
        self._at_most = number("at_most", at_most)
        pruned = towards(subject.tree, of[0])
        if pruned is None:
            raise HypothesisError(
                f"{of[0]!r} is on no claimed path: give it a site, or use a variable that has one."
            )
        self._tree = pruned
        self._donors = subject.supply.donors(
            of[0], same_layout=subject.study.hypothesis.align == "index"
        )

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        donor = self._donors.draw(rng, prompt, equal=True) or prompt
        return Case(prompt, donor, notes=(CLASS_OF_ONE,) if donor.ids == prompt.ids else ())

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        pool, own, donors = both(self.subject, cases)
        twice, n = (
            np.concatenate([own, own]),
            len(own),
        )  # patched, and as it is: one launch for both
        inputs = {node.path: twice for node in self._tree.walk()}
        leaves = (node.path for node in self._tree.walk() if node.variable == self.of[0])
        inputs |= dict.fromkeys(leaves, np.concatenate([donors, own]))
        values = run_tree(pool, self._tree, twice, inputs, [self.subject.metric]).values[0].tolist()
        return [
            moved(self.subject.metric, *both, self._at_most)
            for both in zip(values[n:], values[:n], strict=True)
        ]


@library.register("interchange")
class Interchanged(Check):
    """With `of` taken from a donor of another value, the model says what the program says with that
    value.
    """

    n_about, n_bytes = 1, 4

    def __init__(self, subject: Subject, of: tuple[str, ...]) -> None:
        super().__init__(subject, of)
        self._sites = subject.variable(of[0]).sites
        if not self._sites or of[0] == subject.program.output:
            raise HypothesisError(
                f"{of[0]!r} has no site in the model whose value could be swapped."
            )
        self._donors = subject.supply.donors(of[0], same_layout=True)

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        donor = self._donors.draw(rng, prompt, equal=False)
        return Case(prompt, donor) if donor is not None else Case(prompt, notes=("no donor",))

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        pool, own, donors = both(self.subject, cases)
        top = swap(pool, own, dict.fromkeys(self._sites, donors), [self.subject.metric]).top
        return [self._compared(case, int(token)) for case, token in zip(cases, top, strict=True)]

    def _compared(self, case: Case, token: int) -> Finding:
        if case.donor is None:
            return Finding(vacuous="no donor of another value and the same layout")
        program, name = self.subject.program, self.of[0]
        value = program.compute_values(case.donor)[name]
        expected = program.compute_answers(case.prompt, {name: value})
        if not expected:
            return Finding(vacuous="the program says nothing after the swap")
        said = self.subject.supply.tokens.text(token)
        return Finding(
            ""
            if said in expected
            else f"with {name} = {format_value(value)} the program says {texts(expected)}, the model "
            f"{said!r}"
        )


@library.register("irrelevance")
class Irrelevance(Check):
    """Unclaimed edges, any of them, patched from a donor of the same layout, move the metric by at
    most `at_most`.
    """

    def __init__(self, subject: Subject, of: tuple[str, ...], *, at_most: float) -> None:
        super().__init__(subject, of)
        self._at_most = number("at_most", at_most)
        graph = subject.study.graph
        self._names = graph.edges
        claimed = {graph.edge_index(edge) for edge in subject.claimed}
        self._outside = np.array([i for i in range(graph.n_edges) if i not in claimed], np.int64)
        self._length = -(-len(self._outside) // 8)
        self.n_bytes = 4 * self._length + 8  # type: ignore[misc]
        self._patches = EdgePatches(subject)

    def draw(self, rng: np.random.Generator, prompt: Prompt) -> Case:
        """Each edge with a chance of 1/2, or of 1/4, 1/8, 1/16: a string of bits that shrinks edge
        by edge.
        """
        donor = self.subject.supply.of_same_layout.draw(rng, prompt, equal=True) or prompt
        bits = np.frombuffer(rng.bytes(self._length), np.uint8)
        for _ in range(int(rng.integers(4))):
            bits = bits & np.frombuffer(rng.bytes(self._length), np.uint8)
        edges = tuple(
            self._outside[np.flatnonzero(np.unpackbits(bits)[: len(self._outside)])].tolist()
        )
        names = [self._names[i] for i in edges[:4]]
        shown = (
            ", ".join(names) + (f" and {len(edges) - 4} more" if len(edges) > 4 else "") or "none"
        )
        return Case(
            prompt,
            donor,
            edges=edges,
            shown=shown,
            notes=(CLASS_OF_ONE,) if donor.ids == prompt.ids else (),
        )

    def findings(self, cases: Sequence[Case]) -> list[Finding]:
        before, after = (values.tolist() for values in self._patches.values(cases))
        return [
            moved(self.subject.metric, *both, self._at_most)
            for both in zip(before, after, strict=True)
        ]


@library.register("minimality")
class Minimality(Existence):
    """Each claimed edge, patched alone from the corrupted prompt, costs some prompt `at_least`."""

    def __init__(
        self, subject: Subject, of: tuple[str, ...], *, at_least: float, n: int = _SAMPLE
    ) -> None:
        super().__init__(subject, of)
        self._at_least, self._n = number("at_least", at_least), int(number("n", n))

    def verdict(self) -> Verdict:
        study, claimed = self.subject.study, self.subject.claimed
        prompts = study.prompts(self._n)
        experiment = Experiment(
            study.model, study.batch(prompts).tokens, metric=self.subject.metric
        )
        masks = np.ones((1 + len(claimed), experiment.graph.n_edges), bool)
        for row, edge in enumerate(claimed, 1):
            masks[row, experiment.graph.edge_index(edge)] = False
        values = experiment.values(masks).astype(np.float64)
        losses = -values if experiment.metric.higher_is_better else values
        costs = losses[1:] - losses[0]
        worst = costs.argmax(axis=1)
        lines = [
            f"{edge}: at most {costs[i, worst[i]]:.3g}, on {prompts[worst[i]]!r}"
            for i, edge in enumerate(claimed)
            if costs[i, worst[i]] < self._at_least
        ]
        what = f"{len(claimed) - len(lines)} of {len(claimed)} claimed edges cost some prompt {self._at_least:g} or more"
        return Verdict(not lines, f"minimality: {what}, {len(prompts)} prompts", "\n".join(lines))


def towards(node: TreeNode, variable: str) -> TreeNode | None:
    """The paths of a tree that lead to a variable, which becomes their leaf; None if none does."""
    if node.variable == variable:
        return replace(node, children=())
    children = [
        child
        for child in (towards(child, variable) for child in node.children)
        if child is not None
    ]
    return replace(node, children=tuple(children)) if children else None


def both(subject: Subject, cases: Sequence[Case]):
    """Prompts and donors in one pool, with the numbers of both. A case without a donor is its own."""
    n = len(cases)
    prompts = [case.prompt for case in cases]
    pool = subject.pool([*prompts, *(case.donor or case.prompt for case in cases)])
    return pool, np.arange(n), n + np.arange(n)


def moved(metric: str, before: float, after: float, at_most: float) -> Finding:
    """Whether a metric has moved too far."""
    distance = abs(after - before)
    failure = (
        f"{metric} goes from {before:.4g} to {after:.4g}, by more than {at_most:g}"
        if distance > at_most
        else ""
    )
    return Finding(failure, distance)
