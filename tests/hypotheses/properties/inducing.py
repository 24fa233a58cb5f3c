"""The shipped induction hypothesis, and wrong ones, as the tests of properties need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuitgraph.graph.site import embed, head, logits
from circuitgraph.hypotheses.language import Hypothesis, Property
from circuitgraph.hypotheses.study import Study
from circuitgraph.models.language_model import LanguageModel
from circuitgraph.tasks.base import GrammarTask, Task, tasks


@dataclass(frozen=True)
class Claim:
    """What is changed of the right hypothesis."""

    seen: Callable[[Any], Any] = lambda p: p.token["A1"]
    said: Callable[[Any], Any] = lambda p: p.token["B1"]
    layer_1: int = 6
    matching: bool = True
    spare: bool = False
    where: Callable[[Any], bool] | None = None


def hypothesis(claim: Claim) -> Hypothesis:
    """The shipped hypothesis with something changed."""
    h = Hypothesis("induction", task="induction", model="induction-2l", where=claim.where)

    @h.var(at=embed @ "A1")
    def earlier(p):
        return claim.seen(p)

    @h.var(at=embed @ "B1")
    def successor(p):
        return claim.said(p)

    @h.var(at=embed @ "A2")
    def current(p):
        return p.token["A2"]

    if claim.matching:

        @h.var(at=head(0, 3) @ "B1", v="earlier")
        def seen_before(earlier):
            return earlier

    if claim.spare:

        @h.var(at=head(0, 0) @ "B1", v="earlier")
        def spare(earlier):
            return earlier

    keys = [*(["seen_before"] if claim.matching else []), *(["spare"] if claim.spare else [])]
    arguments = ", ".join(["current", *keys, "successor"])
    copied = eval(f"lambda {arguments}: successor")  # noqa: S307  its parameters are its parents
    copied.__name__ = "copied"
    h.var(at=head(1, claim.layer_1) @ "A2", q="current", k=keys, v="successor")(copied)

    @h.output(at=logits @ "A2")
    def answer(copied):
        return copied

    return h


def task_for(model: LanguageModel, name: str = "induction", **arguments: Any) -> Task:
    assert model.tokenizer is not None
    return GrammarTask(tasks[name], model.tokenizer, 0, arguments)


def study_of(model: LanguageModel, claim: Claim | None = None) -> Study:
    return Study(hypothesis(claim or Claim()), model, task_for(model))


def declared(study: Study, kind: str, **arguments: Any) -> Property:
    """A property of the library, declared and handed out."""
    study.hypothesis.property(kind, **arguments)
    return study.hypothesis.properties.pop()


def seeded(n: int = 64) -> Callable[[], bytes]:
    rng = np.random.default_rng(0)
    return lambda: rng.bytes(n)
