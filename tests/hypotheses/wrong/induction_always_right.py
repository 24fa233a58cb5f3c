"""The model is said to be sure of every prompt of up to 16 words: true of nearly all, not of all.

Refuted by: holds[is_always_sure]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("natural induction is always sure", task="induction", model="induction-2l-natural")


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=head(1, 0) @ "A2", v="successor")
def copied(successor):
    return successor


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


@H.holds
def is_always_sure(p, run):
    assert run(p).probability(p.answer) > 0.97
