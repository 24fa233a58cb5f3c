"""The model is said to answer with the first name. Wrong on paper for every second prompt.

Refuted by: program
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("IOI says the first name", task="ioi", model="ioi")


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=head(2, 2) @ "end", v="first")
def moved(first):
    return first


@H.output(at=logits @ "end")
def answer(moved):
    return moved
