"""What exact ACDC finds in a constructed model, beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuitgraph.discovery.acdc import Acdc
from circuitgraph.discovery.base import search
from circuitgraph.engine.experiment import Experiment
from circuitgraph.models.constructed.blocks import MARGIN
from circuitgraph.models.constructed.compile import Constructed
from circuitgraph.models.constructed.interpreter import answer
from circuitgraph.models.constructed.language import Program
from circuitgraph.models.constructed.truth import Truth, truth
from circuitgraph.models.constructed.vocabulary import prompt, word
from circuitgraph.tasks.base import Pair, Prompts, tokenise


@dataclass(frozen=True)
class Agreement:
    """A truth and a finding.

    Attributes:
        kept: the least effect of a kept edge, ``removed``: the greatest of a removed one; in nats
            times prompts.
    """

    constructed: Constructed
    truth: Truth
    found: tuple[str, ...]
    kept: float
    removed: float

    @property
    def exact(self) -> bool:
        return self.truth.edges == self.found

    @property
    def difference(self) -> str:
        """What was missed and what was found in vain, below the program."""
        missed = sorted(set(self.truth.edges) - set(self.found))
        extra = sorted(set(self.found) - set(self.truth.edges))
        carried = self.constructed.carried
        called = self.constructed.program.called
        lines = [str(self.constructed.program)]
        for title, edges in (("missed", missed), ("not true", extra)):
            lines += [
                f"{title}: {edge}, which carries "
                + "; ".join(
                    f"{read.slot} of {called(read.consumer)}" for read in carried.get(edge, ())
                )
                for edge in edges
            ]
        return "\n".join(
            [*lines, f"sufficient: {self.truth.sufficient}, dropped: {self.truth.dropped}"]
        )


def agreement(constructed: Constructed, prompts: Prompts) -> Agreement:
    """Search the prompts by exact ACDC for the KL under resampling.

    Where an edge's removal leaves every output right the KL stays zero but for rounding (about
    1e-6). Where it makes that of one prompt wrong, that prompt's KL becomes at least `MARGIN`, and
    their mean `MARGIN` / n. The threshold lies between: a thousandth of the latter.
    """
    n = len(prompts)
    circuit = search(
        Acdc(threshold=1e-3 * MARGIN / n), Experiment(constructed.model, prompts, metric="kl")
    )
    scores = circuit.scores
    assert scores is not None
    kept, removed = scores[circuit.mask], scores[~circuit.mask]
    return Agreement(
        constructed,
        truth(constructed, prompts.pairs),
        tuple(circuit.edges),
        n * float(kept.min(initial=np.inf)),
        n * float(removed.max(initial=0.0)),
    )


def random_prompts(constructed: Constructed, n: int, seed: int) -> Prompts:
    """Random sequences, each with another of its length; the first are of the greatest length."""
    program, rng = constructed.program, np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        length = (
            program.max_length
            if i == 0
            else int(rng.integers(program.min_length, program.max_length + 1))
        )
        clean, corrupted = (_sequence(program, length, rng) for _ in range(2))
        pairs.append(Pair(prompt(clean), prompt(corrupted), word(answer(program, clean))))
    tokenizer = constructed.model.tokenizer
    assert tokenizer is not None
    return tokenise(pairs, tokenizer)


def _sequence(program: Program, length: int, rng: np.random.Generator) -> Sequence[str]:
    return [program.alphabet[i] for i in rng.integers(len(program.alphabet), size=length)]
