"""Probes: vectors beside transformers', a program whose layer is known, baselines, refusals."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch

import circuitgraph as cg
from circuitgraph.analysis.probe_depths import read_probe_depths
from circuitgraph.analysis.probe_examples import collect_vectors, label_examples
from circuitgraph.analysis.probe_fits import choose_examples, find_components, fit_probe
from circuitgraph.analysis.probes import find_depths, read_probes
from circuitgraph.catalog.analysis_record import CurvesRecord, ScatterRecord
from circuitgraph.catalog.records import Interval
from circuitgraph.engine.readings.sites import VectorSite
from circuitgraph.errors import CircuitGraphError, MissingExtraError
from circuitgraph.models.constructed.compile import Sizes, compile_program
from circuitgraph.models.constructed.named_programs import find_program
from circuitgraph.tasks.prompts import Prompts
from tests.checkpoints import Tiny, random_prompts

CLASSES = np.array([0, 1, 1, 0, 1])


def label_prompts() -> Prompts:
    """Random prompts of two answers."""
    return replace(random_prompts(), answer=CLASSES.astype(np.int32))


@pytest.mark.parametrize("site", get_args(VectorSite))
def test_vectors_are_those_of_transformers(tiny: Tiny, site: VectorSite) -> None:
    prompts = label_prompts()
    examples = label_examples(tiny.ours, prompts, "answer", 2)
    ours = collect_vectors(tiny.ours, prompts, examples, "scored", site)
    tokens, mask = (torch.tensor(x).long() for x in (prompts.clean, prompts.mask))
    seen: list[torch.Tensor] = []
    part = {"stream": "", "mlp-norm": "ln_2", "attention": "attn", "mlp": "mlp"}[site]

    def save(_m: Any, _i: Any, out: Any) -> None:
        seen.append(out[0] if isinstance(out, tuple) else out)

    handles = [
        (getattr(block, part) if part else block).register_forward_hook(save)
        for block in tiny.hf.transformer.h
    ]
    with torch.no_grad():
        first = tiny.hf(tokens, attention_mask=mask, output_hidden_states=True).hidden_states[0]
    for handle in handles:
        handle.remove()
    every = [first, *seen] if site == "stream" else seen
    theirs = torch.stack(every)[:, torch.arange(5), torch.tensor(prompts.score_at)].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_both_sides_are_examples(tiny: Tiny) -> None:
    prompts = random_prompts()
    examples = label_examples(tiny.ours, prompts, "side", 5)
    assert examples.names == ["clean", "corrupted"]
    np.testing.assert_array_equal(examples.labels, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(examples.pairs, [*range(5)] * 2)
    assert len(set(examples.groups.tolist())) == 5
    prompts.clean[3] = prompts.clean[0]
    groups = label_examples(tiny.ours, prompts, "side", 4).groups.tolist()
    assert groups[:5] == groups[5:]
    assert groups[3] == groups[0], "what is the same prompt stays in one fold"
    assert len(set(groups)) == 4
    prompts = random_prompts()
    vectors = collect_vectors(tiny.ours, prompts, examples, 0, "stream")
    embedding = np.asarray(tiny.ours.transformer.embedding)
    place = np.asarray(tiny.ours.transformer.positional)[0]
    tokens = np.concatenate([prompts.clean[:, 0], np.asarray(prompts.corrupted)[:, 0]])
    np.testing.assert_allclose(vectors[0], embedding[tokens] + place, atol=1e-5)


def test_the_jump_is_where_the_program_computes_the_answer() -> None:
    """The first symbol, fetched to the end by a head of a layer that the compiler says."""
    program = find_program("reverse").make()
    constructed = compile_program(program, "constructed:reverse", sizes=Sizes(n_layers=5))
    writer = constructed.layout.writers[program.output]
    layer = int(writer[1 : writer.index(".")])
    task = cg.load_task("constructed:reverse", constructed.model)
    reading = cg.analyze(constructed.model, task, "probes", n_prompts=80, shuffles=1).reading
    layers, depths = reading.tables
    assert len(layers.rows) == 1 + 5
    assert depths.rows[0][1] == pytest.approx((layer + 1) / 5)
    assert depths.rows[2][1] == pytest.approx((layer + 2) / 5)
    for i, (_, accuracy, _, shuffled, _) in enumerate(layers.rows):
        assert isinstance(accuracy, Interval)
        assert isinstance(shuffled, float)
        assert accuracy.mean == 1.0 if i > layer else accuracy.mean < 0.5
        assert shuffled < 0.5
    curves, points = reading.pictures
    assert isinstance(curves, CurvesRecord)
    assert [one.name for one in curves.series] == ["probe", "shuffled labels", "majority"]
    assert isinstance(points, ScatterRecord)
    assert sorted(points.groups) == list("abcd")
    assert sum(map(len, points.x)) == 80


def test_probes_tell_what_is_there_from_what_is_not() -> None:
    rng = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1], 60), np.arange(120)
    noise = rng.normal(size=(120, 6))
    told = noise + np.outer(labels - 0.5, [6, 0, 0, 0, 0, 0])
    settings: dict[str, Any] = {"folds": 5, "penalty": 1.0, "seed": 0}
    good, bad = (fit_probe(x.astype(np.float32), labels, groups, **settings) for x in (told, noise))
    assert good.accuracy > 0.97
    assert good.is_above(0.5)
    assert abs(bad.accuracy - 0.5) < 0.12
    assert not bad.is_above(0.5)


def test_pairs_stay_together() -> None:
    """Each group has a mark of its own; a probe that saw half of it would know the other half."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 2)
    labels = np.repeat(rng.permutation(np.repeat([0, 1], 15)), 2)
    marks = np.eye(30, dtype=np.float32)[groups]
    together = fit_probe(marks, labels, groups, folds=5, penalty=0.01, seed=0)
    apart = fit_probe(marks, labels, np.arange(60), folds=5, penalty=0.01, seed=0)
    assert together.accuracy < 0.7 < apart.accuracy


def test_depths() -> None:
    shares = [0.25, 0.5, 0.75, 1.0]
    depths = find_depths(np.array([1.2, 1.5, 1.0, 1.01]), [False, True, True, True], shares)
    assert (depths.jump, depths.converging, depths.settled) == (0.5, 1.0, 0.75)
    depths = find_depths(np.array([1.0, 1.05, 1.02, 1.2]), [False] * 4, shares)
    assert (depths.jump, depths.converging, depths.settled) == (None, 0.75, None)


def test_components_are_those_of_the_singular_values() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    points, shares = find_components(vectors)
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-5)
    np.testing.assert_allclose(shares, s[:2] ** 2 / (s**2).sum(), atol=1e-5)


def test_small_classes_are_left_out() -> None:
    labels = np.array([3, 3, 3, 5, 5, 5, 9])
    each = np.arange(7)
    np.testing.assert_array_equal(choose_examples(labels, each, 3), labels != 9)
    with pytest.raises(CircuitGraphError, match=r"two classes of at least 4 .* have 0 such of 3"):
        choose_examples(labels, each, 4)
    with pytest.raises(CircuitGraphError, match="have 1 such of 3"):
        choose_examples(labels, np.array([0, 0, 1, 2, 3, 4, 5]), 3)  # twice the same prompt


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "one class": ({"label": "answer"}, "two classes of at least 5 different prompts"),
    "label": ({"label": "IO"}, "Unknown role of these prompts 'IO'"),
    "role": ({"label": "side", "at": "IO"}, "Unknown role of these prompts 'IO'"),
    "position": ({"label": "side", "at": 30}, "The position is 30"),
    "layers": ({"label": "side", "layers": (1, 3)}, "the model has the layers 0 to 2"),
    "folds": ({"folds": 1}, "folds is 1"),
    "penalty": ({"penalty": 0.0}, "penalty is 0.0"),
    "shuffles": ({"shuffles": 0}, "shuffles is 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tiny: Tiny, case: str) -> None:
    settings, message = BAD[case]
    with pytest.raises(CircuitGraphError) as caught:
        read_probes(tiny.ours, random_prompts(), **settings)
    assert message in str(caught.value)


def test_prompts_and_models_to_which_it_does_not_apply(tiny: Tiny) -> None:
    alone = replace(random_prompts(), corrupted=None, answer=None)
    for label, message in (("side", "needs a corrupted prompt"), ("answer", "needs one token")):
        with pytest.raises(CircuitGraphError, match=message):
            read_probes(tiny.ours, alone, label=label)
    with pytest.raises(CircuitGraphError, match="'ioi' has no MLPs"):
        read_probes(cg.load_model("ioi"), random_prompts(), label="side", site="mlp")


def test_without_scikit_learn(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'circuitgraph-interp\[probes\]'"):
        read_probes(tiny.ours, random_prompts())


def test_depths_of_models_and_tasks_are_those_of_their_probes() -> None:
    model = cg.load_model("multitask")
    task = cg.load_task("ioi", model, seed=0)
    settings: dict[str, Any] = {"label": "side", "folds": 2, "shuffles": 1}
    cases = [
        ({"tasks": ("agreement",)}, [("multitask", "ioi"), ("multitask", "agreement")]),
        ({"others": ("ioi",)}, [("multitask", "ioi"), ("ioi", "ioi")]),
    ]
    for given, expected in cases:
        drawn = task.prompts(12, "evaluation")
        reading = read_probe_depths(model, task, drawn, **given, **settings)
        rows = reading.tables[0].rows
        assert [tuple(row[:2]) for row in rows] == expected
        own = cg.load_model(expected[1][0])
        prompts = cg.load_task(expected[1][1], own, seed=0).prompts(12, "evaluation")
        alone = read_probes(own, prompts, **settings)
        best = next(cells for cells in alone.tables[0].rows if cells[0] == rows[1][2])
        assert rows[1][3:5] == [best[1], best[3]]
        assert rows[1][6:] == [alone.tables[1].rows[0][1], alone.tables[1].rows[2][1]]
        named = [one.name for picture in reading.pictures for one in vars(picture)["series"]]
        assert sorted(named) == sorted(f"{name} in {of}" for of, name in expected)
