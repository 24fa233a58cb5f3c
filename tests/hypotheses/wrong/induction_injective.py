"""A variable that differs on every prompt: each donor is the prompt itself, anything would hold.

Refuted by: program
"""

from circuitgraph.hypotheses import Hypothesis, head, logits

H = Hypothesis("induction by knowing the whole prompt", task="induction", model="induction-2l")


@H.var(at=head(1, 6) @ "A2")
def everything(p):
    return p.text


@H.output(at=logits @ "A2")
def answer(p, everything):
    return p.answer
