"""The heads are said to fetch the decade alone.

Refuted by: property[equality of fetched]
"""

from circuitgraph.hypotheses import Hypothesis, embed, head, logits

H = Hypothesis("greater-than by decade", task="greater-than", model="greater-than")


@H.var(at=embed @ "YY")
def year(p):
    return p.token["YY"]


@H.var(at=head(0, [0, 1, 2, 3]) @ "XX2", v="year")
def fetched(p, year):
    return year[0]


@H.output(at=logits @ "XX2")
def later(p, fetched):
    return {f"{ending:02d}" for ending in range(100) if ending > int(p.token["YY"])}


H.property("equality", of=fetched, at_most=0.2)
