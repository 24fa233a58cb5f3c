"""What follows the first A is said to be copied from B1, however the head knows B1. True on paper.

With the joint policy it would not be refuted: both the query and the keys then come from one other
prompt, whose own words match, at positions that stand for the same roles.

Refuted by: expect[loss_recovered >= 0.8]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis(
    "induction without matching", task="induction", model="induction-2l", unclaimed="separate"
)


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=head(1, 6) @ "A2", v="successor")
def copied(successor):
    return successor


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


H.expect("loss_recovered", at_least=0.8)
