"""The stored form: JSON and back, and a file that says the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgraph.catalog.hypothesis_record import HypothesisRecord
from circuitgraph.errors import DataError, HypothesisError
from circuitgraph.graph.node import ATTENTION_INPUTS, Node
from circuitgraph.graph.site import Site
from circuitgraph.hypotheses.loading import load_hypotheses
from circuitgraph.hypotheses.writing.file import write_source
from circuitgraph.hypotheses.writing.stored import store_hypothesis
from tests.hypotheses.texts import INDUCTION, SHIPPED, load_text

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
ROLES = st.lists(st.sampled_from(["A1", "B1", "S1", "a.ones", "end", "o'clock"]), max_size=2)
NUMBERS = st.integers(0, 12)
PLAIN: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(TEXTS.filter(lambda t: t != "$site"), inner, max_size=2)
    ),
    max_leaves=4,
)
SETTINGS = st.dictionaries(st.sampled_from(["operators", "words", "least"]), PLAIN, max_size=2)


NODES = {
    "embed": "embed",
    "logits": "logits",
    "head": "a{}.h{}",
    "mlp": "m{}",
    "neuron": "m{}.n{}",
    "feature": "m{}.f{}",
}


# Strategies give plain data only: what checks types in these tests rolls dice, which strategies
# must not.
@st.composite
def sites(draw: st.DrawFn, *kinds: str) -> str:
    kind = draw(st.sampled_from(kinds or ("embed", "head", "mlp", "neuron", "feature")))
    roles = draw(ROLES)
    return NODES[kind].format(draw(NUMBERS), draw(NUMBERS)) + (
        f"@{'+'.join(roles)}" if roles else ""
    )


def make_function(name: str, parents: list[str], body: str) -> str:
    return f"def {name}({', '.join(parents)}):\n    {body}"


BODIES = st.sampled_from(
    [
        "return 1",
        "...",
        '"""What it is."""\n    ...',
        "return tuple(sorted('a \\\\ b'))  # for\n\n    # now",
        "return [\n1,\n]",
    ]
)
LAMBDAS = st.sampled_from(
    ["lambda p: 1", "lambda p: [q for q in p.token\n    if q]", "lambda p, a=(1, 2): (lambda: p)"]
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    names = [f"v{i}" for i in range(draw(st.integers(1, 4)))]
    variables = []
    for i, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else []
        output, routed = name == names[-1], draw(st.booleans())
        at = (
            [draw(sites("logits"))]
            if output
            else draw(st.lists(sites("head") if routed else sites(), max_size=2))
        )
        routes = (
            {i: draw(st.lists(st.sampled_from(parents), min_size=1)) for i in ATTENTION_INPUTS}
            if parents
            else {}
        )
        variables.append(
            {
                "name": name,
                "parents": parents,
                "sites": at,
                "routes": routes if routed and not output else {},
                "through": {
                    p: draw(sites("head", "mlp")) for p in parents[:1] if draw(st.booleans())
                },
                "role": "output" if output else draw(TEXTS),
                "together": not output and draw(st.booleans()),
                "source": make_function(name, parents, draw(BODIES)),
            }
        )
    return dict(
        name=draw(TEXTS),
        task=draw(TEXTS),
        model=draw(TEXTS),
        dictionaries=draw(st.lists(TEXTS, max_size=2)),
        settings=draw(SETTINGS),
        metric=draw(st.none() | TEXTS),
        unclaimed=draw(st.sampled_from(["joint", "keep"])),
        align=draw(st.sampled_from(["role", "index"])),
        where=draw(st.none() | LAMBDAS | st.just("def chosen(p):\n    return LEAST < len(p)")),
        variables=variables,
        output=names[-1],
        **draw(others(names)),
    )


@st.composite
def others(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """Expectations, rivals and properties."""
    some = st.lists(st.sampled_from(names), max_size=2)
    numbers = st.none() | st.floats(0, 1)
    expectations = [
        {
            "quantity": draw(TEXTS),
            "of": of,
            "site": draw(st.none() | sites("head")) if not of else None,
            "to": draw(st.none() | TEXTS),
            "n": draw(st.none() | NUMBERS),
            **{bound: draw(numbers) for bound in ("at_least", "at_most", "rivals_below")},
        }
        for of in draw(st.lists(some, max_size=2))
    ]
    rivals = [
        {
            "name": draw(TEXTS),
            "drop": draw(some),
            "move": {names[0]: draw(st.lists(sites(), min_size=1, max_size=2))}
            if draw(st.booleans())
            else {},
            "replace": {names[-1]: draw(LAMBDAS | st.just(f"def other{i}(p):\n    return {i}"))}
            if i
            else {},
        }
        for i in range(draw(st.integers(0, 2)))
    ]
    shared = {
        "allow": draw(st.floats(0, 0.5)),
        "max_examples": draw(st.none() | NUMBERS),
        "exceptions": draw(ROLES),
    }
    about = draw(some)
    title = " ".join(["equality", *(["of " + "+".join(about)] if about else [])])
    properties = [
        {"name": title, "kind": "equality", "of": about, "settings": draw(SETTINGS)} | shared,
        {
            "name": "law",
            "kind": draw(st.sampled_from(["holds", "never"])),
            "source": make_function("law", ["p"], "pass"),
        }
        | shared,
    ]
    return {
        "expectations": expectations,
        "rivals": rivals,
        "properties": properties[: draw(st.integers(0, 2))],
    }


def write_again(record: HypothesisRecord) -> HypothesisRecord:
    """The record of a file written from a record."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "written.py"
        path.write_text(write_source(record), encoding="utf-8")
        return store_hypothesis(load_hypotheses(path)[0])


@given(record=records())
@settings(max_examples=60)
def test_json_and_files_say_the_same(record: dict[str, Any]) -> None:
    _check_survival(HypothesisRecord(**record))


def _check_survival(record: HypothesisRecord) -> None:
    assert HypothesisRecord.from_json(record.to_json()) == record
    assert write_again(record) == record


@given(name=sites())
def test_sites_have_names(name: str) -> None:
    assert str(Site.parse(name)) == name


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.py")), ids=lambda path: path.stem)
def test_shipped_hypotheses_survive(path: Path) -> None:
    for hypothesis in load_hypotheses(path):
        record = store_hypothesis(hypothesis)
        assert write_again(record) == record
        assert [v.name for v in record.variables] == [v.name for v in hypothesis.variables]
        assert json.loads(record.to_json())["schema_version"] == 1


HELPED = (
    INDUCTION
    + """

import math as m
from string import ascii_lowercase

LETTERS = ascii_lowercase + "-"
UNUSED = 3


def rank(word):
    return LETTERS.index(word[0])


@H.var(at=head(0, 0) @ "B1", v="earlier")
def ranked(earlier):
    return m.floor(rank(earlier))


H.rival(
    "by rank",
    seen_before=lambda earlier: rank(earlier),
    copied=lambda ranked, successor: successor,
)
H.property("equality", of=ranked, site=head(0, 3) @ "B1")
"""
)


def test_what_functions_need_is_stored_with_them(tmp_path: Path) -> None:
    record = store_hypothesis(load_text(tmp_path, HELPED))
    assert record.support == (
        "import math as m\nfrom string import ascii_lowercase\nLETTERS = ascii_lowercase + \"-\"\n"
        "def rank(word):\n    return LETTERS.index(word[0])"
    )  # fmt: skip
    assert record.rivals[0].replace == {
        "seen_before": "lambda earlier: rank(earlier)",
        "copied": "lambda ranked, successor: successor",
    }
    assert record.properties[0].settings == {"site": {"$site": "a0.h3@B1"}}
    assert write_again(record) == record
    (tmp_path / "again.py").write_text(write_source(record))
    rebuilt = load_hypotheses(tmp_path / "again.py")[0]
    assert rebuilt.variables[-1]("dog") == 3  # with its helper, and the helper's constant
    assert rebuilt.properties[0].settings == {"site": Site(Node("head", 0, 3), ("B1",))}


def test_keys_are_sorted_and_defaults_are_there(tmp_path: Path) -> None:
    content = json.loads(store_hypothesis(load_text(tmp_path, INDUCTION)).to_json())
    assert list(content) == sorted(content)
    assert content["variables"][3] == {
        "name": "seen_before",
        "parents": ["earlier"],
        "role": "",
        "routes": {"v": ["earlier"]},
        "sites": ["a0.h3@B1"],
        "source": "def seen_before(earlier):\n    return earlier",
        "through": {},
        "together": False,
    }


DAMAGED = {
    "not JSON": (lambda c: "{", "cannot be read as JSON"),
    "newer": (lambda c: c | {"schema_version": 99}, "schema version 99"),
    "unknown field": (lambda c: c | {"colour": 3}, "colour"),
    "another output": (
        lambda c: c | {"output": "nobody"},
        "the output 'nobody' is not the name of one variable",
    ),
    "site": (
        lambda c: c["variables"][0].update(sites=["a0.h3<q>@B1"]),
        "is an input of a node, not a site",
    ),
    "role": (lambda c: c["variables"][0].update(sites=["a0.h3@"]), "names no role after its '@'"),
    "parents": (
        lambda c: c["variables"][3].update(parents=["current"]),
        "has the parents ['current'], but its function",
    ),
    "name": (lambda c: c["variables"][3].update(name="import"), "cannot be the name of a function"),
    "text": (lambda c: c["variables"][3].update(source="x = 1"), "is not the text of a function"),
    "two texts": (
        lambda c: c["variables"][3].update(source="def f():\n    pass\nprint(1)"),
        "is not the text of one function",
    ),
    "decorated": (
        lambda c: c["variables"][3].update(source="@print\ndef seen_before(earlier):\n    pass"),
        "not the text",
    ),
    "support": (lambda c: c | {"support": "1 +"}, "the support is not Python"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_records_are_refused(case: str, tmp_path: Path) -> None:
    damage, phrase = DAMAGED[case]
    content = json.loads(store_hypothesis(load_text(tmp_path, INDUCTION)).to_json())
    damaged = damage(content) or content
    with pytest.raises(DataError) as caught:
        HypothesisRecord.from_json(damaged if isinstance(damaged, str) else json.dumps(damaged))
    assert phrase in str(caught.value)


def test_reading_a_record_executes_nothing(tmp_path: Path) -> None:
    content = json.loads(store_hypothesis(load_text(tmp_path, INDUCTION)).to_json())
    mark = tmp_path / "executed"
    content["support"] = f"open({str(mark)!r}, 'w')"
    content["variables"][3]["source"] = (
        f"def seen_before(earlier, *, x=open({str(mark)!r}, 'w')):\n    pass"
    )
    write_source(HypothesisRecord.from_json(json.dumps(content)))
    assert not mark.exists()


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    hypothesis = load_text(tmp_path, INDUCTION + "\nH.settings['x'] = {1, 2}\n")
    with pytest.raises(HypothesisError, match=r"settings .* cannot be stored"):
        store_hypothesis(hypothesis)
    made = load_text(
        tmp_path,
        INDUCTION + "\nfrom functools import partial\nH.rival('r', earlier=partial(len))\n",
    )
    with pytest.raises(HypothesisError, match="write it in a file, as a def or a lambda"):
        store_hypothesis(made)
    with pytest.raises(HypothesisError, match="has no output"):
        store_hypothesis(load_text(tmp_path, INDUCTION.replace("@H.output", "@H.var")))
