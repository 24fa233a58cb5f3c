"""The head at B1 is said to carry B itself, and the second layer to copy it. True on paper.

Refuted by: expect[loss_recovered >= 0.8]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("induction with its roles exchanged", task="induction", model="induction-2l")


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=embed @ "A2")
def current(p):
    return p.token["A2"]


@H.var(at=head(0, 3) @ "B1", v="successor")
def carried(successor):
    return successor


@H.var(at=head(1, 6) @ "A2", q="current", v="carried")
def copied(current, carried):
    return carried


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


H.expect("loss_recovered", at_least=0.8)
