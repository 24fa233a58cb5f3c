"""The digit is said to go from the heads to the logits, without any MLP. True on paper.

Refuted by: expect[loss_recovered >= 0.8]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis(
    "addition without MLPs",
    task="addition",
    model="addition",
    settings={"operators": "+", "place": "last"},
    where=lambda p: "a.tens" in p.position and "b.tens" in p.position,
)


@H.var(at=embed @ "a.ones")
def a(p):
    return int(p.token["a.ones"])


@H.var(at=embed @ "b.ones")
def b(p):
    return int(p.token["b.ones"])


@H.var(at=head(0, [0, 1, 2, 3]) @ "end", v=("a", "b"))
def fetched(a, b):
    return (a + b) % 10


@H.output(at=logits @ "end")
def answer(fetched):
    return fetched


H.expect("loss_recovered", at_least=0.8)
