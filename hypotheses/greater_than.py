"""Greater-than in one layer: heads fetch the year's last digits, an MLP sets the threshold.

The heads' keys are claimed as well as their values: how strongly a head looks at the year depends
on the year.
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits, mlp

H = Hypothesis("greater-than by fetching the year", task="greater-than", model="greater-than")
ENDINGS = [f"{ending:02d}" for ending in range(100)]


@H.var(at=embed @ "YY")
def year(p):
    return int(p.token["YY"])


@H.var(at=head(0, [0, 1, 2, 3]) @ "XX2", k="year", v="year", role="heads that fetch the year")
def fetched(year):
    return year


@H.var(at=mlp(0) @ "XX2", role="the threshold")
def threshold(fetched):
    return fetched


@H.output(at=logits @ "XX2")
def later(fetched, threshold):
    return frozenset(ending for ending in ENDINGS if int(ending) > threshold)


H.expect("accuracy", at_least=0.95)
H.expect("loss_recovered", at_least=0.95, rivals_below=0.985)
H.expect("necessity", at_least=0.9)
H.expect("attention", of=head(0, 2) @ "XX2", to="YY", at_least=0.9)

H.rival(
    "the heads fetch the decade",
    fetched=lambda p: p.token["YY"][0],
    threshold=lambda p: int(p.token["YY"]),
)
H.rival("the MLP knows the decade only", threshold=lambda fetched: fetched // 10)
H.rival("no MLP", drop=threshold)
H.rival("the MLP alone", drop=fetched)


@H.holds
def the_noun_does_not_matter(p, run, relabel):
    assert abs(run(relabel(p)).probability(p.answer) - run(p).probability(p.answer)) < 0.05


H.property("behaviour")
H.property("equality", of=threshold, at_most=0.05)
