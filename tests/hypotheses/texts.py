"""Hypothesis files as texts: the shipped one with something changed."""

from __future__ import annotations

from pathlib import Path

from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.loading import load_hypotheses

SHIPPED = Path(__file__).parents[2] / "hypotheses"
INDUCTION = """\
from circuitgraph.hypotheses import Hypothesis, embed, feature, head, logits, mlp, neuron

H = Hypothesis("induction", task="induction", model="induction-2l")


@H.var(at=embed @ "A1")
def earlier(p):
    return p.token["A1"]


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=embed @ "A2")
def current(p):
    return p.token["A2"]


@H.var(at=head(0, 3) @ "B1", v="earlier")
def seen_before(earlier):
    return earlier


@H.var(at=head(1, 6) @ "A2", q="current", k="seen_before", v="successor")
def copied(current, seen_before, successor):
    return successor if current == seen_before else None


@H.output(at=logits @ "A2")
def answer(copied):
    return copied
"""


def change_text(*changes: tuple[str, str]) -> str:
    """The text with parts exchanged; each part must be there."""
    text = INDUCTION
    for old, new in changes:
        assert old in text, f"{old!r} is not in the text"
        text = text.replace(old, new)
    return text


def load_text(folder: Path, text: str, name: str = "mine.py") -> Hypothesis:
    """The hypothesis of a file with this text."""
    (folder / name).write_text(text, encoding="utf-8")
    return load_hypotheses(folder / name)[0]
