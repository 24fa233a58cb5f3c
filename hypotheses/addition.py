"""The last digit of a sum in the model ``addition``: heads fetch both ones digits, MLPs add them.

How much a head looks at each digit depends on the digits, so its keys are claimed as well as its
values. And the sum is not made early: what the first MLP writes depends on both digits, not on
their sum alone.
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits, mlp


def two_digits_each(p):
    return "a.tens" in p.position and "b.tens" in p.position


H = Hypothesis(
    "the last digit of a sum",
    task="addition",
    model="addition",
    settings={"operators": "+", "place": "last"},
    where=two_digits_each,
)


@H.var(at=embed @ "a.ones")
def a(p):
    return int(p.token["a.ones"])


@H.var(at=embed @ "b.ones")
def b(p):
    return int(p.token["b.ones"])


@H.var(
    at=head(0, [0, 1, 3]) @ "end",
    k=("a", "b"),
    v=("a", "b"),
    role="heads that fetch the ones digits",
)
def fetched(a, b):
    return a, b


@H.var(at=mlp(0) @ "end", role="both digits, mixed")
def mixed(fetched):
    return fetched


@H.var(at=mlp(1) @ "end", role="the answer, by both digits")
def settled(mixed, fetched):
    return mixed


@H.output(at=logits @ "end")
def answer(settled, mixed, fetched):
    return sum(settled) % 10


H.expect("accuracy", at_least=0.95)
H.expect("loss_recovered", at_least=0.7, rivals_below=0.8)
H.expect("necessity", at_least=0.8)

H.rival(
    "the first MLP adds",
    mixed=lambda fetched: sum(fetched) % 10,
    settled=lambda fetched, mixed: fetched,
)
H.rival(
    "the second MLP has nothing but the last digit",
    settled=lambda fetched, mixed: sum(fetched) % 10,
    answer=lambda settled, mixed, fetched: settled,
)
H.rival("no MLPs", drop=[mixed, settled])

H.property("behaviour", allow=0.02)
