"""Induction, as in the shipped hypothesis, by what each head fetches at one position."""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis(
    "the induction head fetches the answer at B1", task="induction", model="induction-2l"
)


@H.var(at=embed @ "A1")
def earlier(p):
    return p.token["A1"]


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=embed @ "A2")
def current(p):
    return p.token["A2"]


@H.var(at=head(0, 3).fetched_from("A1") @ "B1", v="earlier", role="previous-token head")
def seen_before(earlier):
    return earlier


@H.var(
    at=head(1, 6).fetched_from("B1") @ "A2",
    q="current",
    k="seen_before",
    v="successor",
    role="induction head",
)
def copied(current, seen_before, successor):
    return successor if current == seen_before else None


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


H.expect("loss_recovered", at_least=0.8, rivals_below=0.5)
H.rival("fetched from A1", move={copied: head(1, 6).fetched_from("A1") @ "A2"})
