"""Indirect objects in ``ioi-natural``, two layers trained without any wish about its circuit.

It does not have the circuit of Wang et al. (2022). The first layer's heads collect the opening's
two names at the end. At S2 the same heads and the first MLP make more of the name that comes again;
the second layer's heads fetch it from there, and take it away. What is collected at S2 need not
know who else is there: a hypothesis in which it does recovers no more.
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits, mlp

H = Hypothesis("IOI by collecting names and taking one away", task="ioi", model="ioi-natural")
COLLECTORS = [0, 1, 2, 3]


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=embed @ "N2")
def second(p):
    return p.token["N2"]


@H.var(at=embed @ "S2")
def again(p):
    return p.token["S2"]


@H.var(
    at=head(0, COLLECTORS) @ "end",
    k=("first", "second"),
    v=("first", "second"),
    role="heads that collect names",
)
def collected(first, second):
    return frozenset([first, second])


@H.var(at=head(0, COLLECTORS) @ "S2", role="the same heads at S2")
def beside(p):
    return p.token["S2"]


@H.var(at=mlp(0) @ "S2", role="the repeated name, told apart")
def told_apart(again, beside):
    return again


@H.var(
    at=head(1, [2, 3]) @ "end",
    v=("told_apart", "again", "beside"),
    role="heads that take the repeated name away",
)
def taken_away(told_apart, again, beside):
    return again


@H.var(at=mlp(1) @ "end")
def settled(collected, taken_away):
    return collected, taken_away


@H.output(at=logits @ "end")
def answer(settled, collected, taken_away):
    return collected - {taken_away}


H.expect("accuracy", at_least=0.95)
H.expect("loss_recovered", at_least=0.85, at_most=1.15, rivals_below=0.85)
H.expect("attention", of=head(1, 2) @ "end", to="S2", at_least=0.9)

H.rival("nothing is taken away", drop=taken_away)
H.rival("nothing is collected at the end", drop=collected)
H.rival("S2 has nothing but its embedding", drop=[beside, told_apart])
H.rival(
    "the last MLP knows the names, not which comes again",
    settled=lambda collected, taken_away: collected,
)


@H.never(allow=0.01)
def says_the_repeated_name(p, run):
    return run(p).answer == p.token["S2"]


H.property("behaviour", allow=0.01)
