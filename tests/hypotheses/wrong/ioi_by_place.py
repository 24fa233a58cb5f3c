"""The S-inhibition head is said to carry which place's name comes again. True on paper.

It is near what GPT-2 does. What is inhibited then is somebody who is not there, and the loss gets
better than the model's own.

Refuted by: expect[loss_recovered >= 0.8 <= 1.15]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("IOI by inhibiting a place", task="ioi", model="ioi")


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=embed @ "N2")
def second(p):
    return p.token["N2"]


@H.var(at=embed @ "S2")
def again(p):
    return p.token["S2"]


@H.var(at=head(1, 0) @ "end", v="again")
def place(p, again):
    return 1 if again == p.token["N1"] else 2


@H.var(at=head(2, 2) @ "end", q="place", k=("first", "second"), v=("first", "second"))
def moved(first, second, place):
    return second if place == 1 else first


@H.output(at=logits @ "end")
def answer(moved):
    return moved


H.expect("loss_recovered", at_least=0.8, at_most=1.15)
