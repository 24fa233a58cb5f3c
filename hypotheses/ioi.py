"""Indirect objects in the model ``ioi``: inhibit the name that comes again, copy another name.

The heads and their order are those of Wang et al. (2022). The duplicate-token head, a0.h1, is no
variable here: it says at S2 that the name stood before, which is so in every prompt of the task,
and what never varies cannot be resampled.
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("IOI by inhibiting a name", task="ioi", model="ioi")


@H.var(at=embed @ "N1")
def first(p):
    return p.token["N1"]


@H.var(at=embed @ "N2")
def second(p):
    return p.token["N2"]


@H.var(at=embed @ "S2")
def again(p):
    return p.token["S2"]


@H.var(at=head(1, 0) @ "end", v="again", role="S-inhibition head")
def inhibited(again):
    return again


@H.var(
    at=head(2, 2) @ "end",
    q="inhibited",
    k=("first", "second"),
    v=("first", "second"),
    role="name mover",
)
def moved(first, second, inhibited):
    """Both names, the inhibited one less: what is written of it lowers the logit difference."""
    return (second if first == inhibited else first, inhibited)


@H.output(at=logits @ "end")
def answer(moved):
    return moved[0]


H.expect("accuracy", at_least=0.99)
H.expect("loss_recovered", at_least=0.85, at_most=1.15, rivals_below=0.7)
H.expect("necessity", at_least=0.85)
H.expect("attention", of=head(1, 0) @ "end", to="S2", at_least=0.8)

H.rival(
    "inhibits a place, not a name",
    inhibited=lambda first, again: again == first,
    moved=lambda first, second, inhibited: (second, first) if inhibited else (first, second),
)
H.rival("no inhibition", drop=inhibited)
H.rival("copies whichever name comes first", moved=lambda first: first)


@H.holds
def names_do_not_matter(p, run, relabel):
    assert run(relabel(p)).answer == relabel(run(p).answer)


@H.never
def says_the_repeated_name(p, run):
    return run(p).answer == p.token["S2"]


H.property("equality", of=inhibited, at_most=2.0, allow=0.01)
