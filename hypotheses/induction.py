"""Induction by a previous-token head and an induction head, in the model ``induction-2l``."""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("induction by a previous-token head", task="induction", model="induction-2l")


@H.var(at=embed @ "A1")
def earlier(p):
    return p.token["A1"]


@H.var(at=embed @ "B1")
def successor(p):
    return p.token["B1"]


@H.var(at=embed @ "A2")
def current(p):
    return p.token["A2"]


@H.var(at=head(0, 3) @ "B1", v="earlier", role="previous-token head")
def seen_before(earlier):
    return earlier


@H.var(at=head(1, 6) @ "A2", q="current", k="seen_before", v="successor", role="induction head")
def copied(current, seen_before, successor):
    return successor if current == seen_before else None


@H.output(at=logits @ "A2")
def answer(copied):
    return copied


H.expect("accuracy", at_least=0.95)
H.expect("loss_recovered", at_least=0.8, rivals_below=0.5)
H.expect("interchange_accuracy", of=copied, at_least=0.95)
H.expect("necessity", at_least=0.85)
H.expect("attention", of=head(1, 6) @ "A2", to="B1", at_least=0.9)

H.rival("no previous-token head", drop=seen_before)
H.rival("the other way round", seen_before=lambda successor: successor)
H.rival("another induction head", move={copied: head(1, 5) @ "A2"})


@H.holds
def token_names_do_not_matter(p, run, relabel):
    assert run(relabel(p)).answer == relabel(run(p).answer)


H.property("behaviour")
H.property("interchange", of=copied)
H.property("equality", of=current, at_most=1.0, allow=0.01)
