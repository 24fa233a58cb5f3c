"""The induction head is said to be a1.h2, which writes nothing.

Refuted by: expect[loss_recovered >= 0.8]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("induction by another head", task="induction", model="induction-2l")


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


@H.var(at=head(1, 2) @ "A2", q="current", k="seen_before", v="successor")
def copied(current, seen_before, successor):
    return successor if current == seen_before else None


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


H.expect("loss_recovered", at_least=0.8)
