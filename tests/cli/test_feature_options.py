"""Features on the command line: a dictionary is given, recorded and loaded again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import circuitgraph as cg
from circuitgraph.models.dictionaries.dictionary import Dictionary
from circuitgraph.models.dictionaries.dictionary_spec import DictionarySpec
from circuitgraph.models.dictionaries.hooks import Hook
from circuitgraph.models.dictionaries.saving import save_dictionary
from tests.cli.conftest import call


def test_from_a_search_to_a_judgement(tmp_path: Path) -> None:
    d = cg.load_model("addition").spec.d_model
    rng = np.random.default_rng(0)
    w_enc, w_dec = (jnp.asarray(rng.normal(size=(30, d)) / 8, jnp.float32) for _ in range(2))
    place = Hook("mlp_output", 0)
    spec = DictionarySpec(
        layout="test",
        activation="top_k",
        k=4,
        subtracts_b_dec=True,
        reads=place,
        writes=(place,),
    )
    zeros = jnp.zeros(30), jnp.zeros(d)
    dictionary = Dictionary(w_enc, zeros[0], w_dec[None], zeros[1], spec=spec)
    save_dictionary(dictionary, tmp_path / "sae")
    search = ("discover", "addition", "--limit", 8, "--threshold", 2, "--dictionary")
    ran = call(*search, tmp_path / "sae", "--units", 3, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    circuit = cg.load_circuit(tmp_path / "run")
    assert circuit.graph.n_units == 3
    assert circuit.graph.has_features
    judge = ("evaluate", tmp_path / "run", "--limit", 8, "--measures", "faithfulness")
    judged = call(*judge)
    assert judged.code == 0, judged.err
    save_dictionary(replace(dictionary, b_dec=zeros[1] + 1), tmp_path / "other")
    (tmp_path / "sae").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "sae")
    judged = call(*judge)
    assert judged.code == 2
    assert "dictionary of m0" in judged.err


HYPOTHESIS = """
from circuitgraph.hypotheses import Hypothesis, embed, feature, head, logits

H = Hypothesis(
    "features add",
    task="addition",
    model="addition",
    settings={"operators": "+", "place": "last"},
)

@H.var(at=embed @ "a.ones")
def a(p):
    return int(p.token["a.ones"])

@H.var(at=embed @ "b.ones")
def b(p):
    return int(p.token["b.ones"])

@H.var(at=head(0, [0, 1]) @ "end", v=("a", "b"))
def fetched(a, b):
    return a, b

@H.var(at=feature(0, [30, 31]) @ "end")
def read(fetched):
    return fetched

@H.output(at=logits @ "end")
def answer(read):
    return sum(read) % 10
"""


def test_features_are_sites_of_a_hypothesis(tmp_path: Path) -> None:
    file = tmp_path / "features.py"
    file.write_text(HYPOTHESIS)
    ran = call("scrub", file, "--limit", 60, "--dictionary", "addition-m0", "--json")
    assert ran.code in (0, 1), ran.err
    record = json.loads(ran.out)
    assert "m0.f30@end" in {node["site"] for node in record["nodes"]}
    assert [own["name"] for own in record["model"]["dictionaries"]] == ["addition-m0"]
    ran = call("scrub", file, "--limit", 8)
    assert ran.code == 2
    assert "no dictionary of m0 is loaded with this model (loaded: none)" in ran.err
