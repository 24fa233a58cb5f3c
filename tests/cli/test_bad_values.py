"""Values that make no sense: one clear message, exit 2, refused before a model is loaded, nothing
written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran, files_below

STORED = Path(__file__).parents[2] / "catalog" / "circuits" / "induction-2l" / "induction" / "acdc"
EARLY = {
    "negative threshold, absolute test": (
        "discover induction --absolute --threshold=-0.1",
        ["threshold is -0.1", "absolute", "must not be negative"],
    ),
    "task": ("discover inductoin", ["Unknown task 'inductoin'", "Did you mean 'induction' or"]),
    "task beside a model": (
        "discover inductoin --model induction-2l",
        ["Unknown task 'inductoin'"],
    ),
    "task that is a path": (
        "discover ../../etc/passwd",
        ["Unknown task '../../etc/passwd'", "from 'addition' to"],
    ),
    "task that is a data file": ("discover pairs.jsonl", ["'pairs.jsonl' is a file", "--data"]),
    "metric": ("discover induction --metric acuracy", ["Unknown metric 'acuracy'", "'accuracy'"]),
    "metric like nothing": (
        "discover induction --metric zzzz",
        ["Unknown metric 'zzzz'", "Known: ", "logit_difference"],
    ),
    "algorithm": ("discover induction --algorithm acdcc", ["Unknown algorithm 'acdcc'", "'acdc'"]),
    "ablation": (
        "discover induction --ablation resampel",
        ["Unknown ablation 'resampel'", "'resample'"],
    ),
    "threshold nan": ("discover induction --threshold nan", ["threshold is nan", "finite"]),
    "threshold inf": ("discover induction --threshold inf", ["threshold is inf", "finite"]),
    "threshold -inf": ("discover induction --threshold=-inf", ["threshold is -inf", "finite"]),
    "threshold a word": (
        "discover induction --threshold low",
        ["Invalid value for '--threshold'", "'low'"],
    ),
    "limit zero": ("discover induction --limit 0", ["--limit is 0", "at least 1"]),
    "limit negative": ("discover induction --limit=-3", ["--limit is -3", "at least 1"]),
    "limit a fraction": (
        "discover induction --limit 2.5",
        ["Invalid value for '--limit'", "'2.5'"],
    ),
    "seed negative": ("discover induction --seed=-1", ["--seed is -1", "at least 0"]),
    "memory zero": ("discover induction --memory 0", ["--memory is 0", "positive number of GiB"]),
    "memory infinite": (
        "discover induction --memory inf",
        ["--memory is inf", "positive number of GiB"],
    ),
    "memory nan": (
        "discover induction --memory nan",
        ["--memory is nan", "positive number of GiB"],
    ),
    "memory beyond all machines": (
        "discover induction --memory 1e300",
        ["--memory is 1e+300", "at most 1,048,576"],
    ),
    "steps beyond 64 bits": (
        "discover induction --algorithm eap-ig-inputs --steps 99999999999999999999",
        ["steps is 99999999999999999999", "64 bits"],
    ),
    "steps beyond 32 bits": (
        "discover induction --algorithm edge-pruning --steps 99999999999",
        ["steps is 99999999999", "at most 2,147,483,647"],
    ),
    "setting not finite": (
        "discover induction --algorithm edge-pruning --set learning_rate=inf",
        ["learning_rate is inf", "finite"],
    ),
    "setting nested too deeply": (
        f"discover induction --set steps={'[' * 2000}",
        ["--set 'steps=[[[", "cannot be read"],
    ),
    "limit beyond memory": (
        "discover induction --limit 99999999999",
        ["--limit is 99999999999", "at most 1,000,000"],
    ),
    "seed beyond 64 bits": (
        "discover induction --seed 99999999999999999999",
        ["--seed is 99999999999999999999", "at most"],
    ),
    "task setting of another type": (
        "discover addition --task-set operators=5",
        ["operators is 5", "a word"],
    ),
    "empty model": ("discover induction --model=", ["An empty value was given at '--model='"]),
    "empty measures": ("evaluate nowhere --measures=", ["at '--measures='"]),
    "escape sequence": (
        "discover ind\x1b[31muction",
        [r"Unknown task 'ind\x1b[31muction'", "'induction'"],
    ),
    "a megabyte": (f"discover {'x' * 2**20}", ["Unknown task 'xxx", "1,048,576 characters"]),
    "extra words": ("discover induction more", ["unexpected extra argument", "more"]),
    "neither task nor data": (
        "discover",
        ["Give either a task (circuitgraph list tasks) or --data", "not both"],
    ),
    "both task and data": (
        "discover induction --data there.txt",
        ["Give either a task", "not both"],
    ),
    "two tasks": (
        "discover induction --task other",
        ["Two tasks were given", "'induction'", "'other'"],
    ),
    "data without a model": ("discover --data there.txt", ["--data needs --model", "hub name"]),
    "data that is not there": (
        "discover --data gone.jsonl --model induction-2l",
        ["no data file 'gone.jsonl'"],
    ),
    "unknown option": (
        "discover induction --treshold 1",
        ["No such option: --treshold", "--threshold"],
    ),
    "unknown command": ("discovr induction", ["No such command 'discovr'"]),
    "dry run, too": ("discover induction --dry-run --metric acuracy", ["Unknown metric 'acuracy'"]),
    "out that exists": (
        "discover induction --out there.txt",
        ["'there.txt' exists already", "--overwrite"],
    ),
    "list of what": ("list metric", ["Unknown kind of list 'metric'", "'metrics'"]),
    "evaluate: metric": (f"evaluate {STORED} --metric acuracy", ["Unknown metric 'acuracy'"]),
    "evaluate: ablation": (
        f"evaluate {STORED} --ablation none",
        ["Unknown ablation 'none'", "zero"],
    ),
    "evaluate: one prompt": (f"evaluate {STORED} --limit 1", ["--limit is 1", "at least 2"]),
    "evaluate: no circuit": ("evaluate nowhere", ["no circuit at 'nowhere'", "circuit.json"]),
    "render: no circuit": ("render nowhere", ["no circuit at 'nowhere'", "circuit.json"]),
}


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("case", EARLY)
def test_bad_value_is_refused_before_a_model_is_loaded(
    run: Callable[..., Ran], tmp_path: Path, case: str
) -> None:
    (tmp_path / "there.txt").write_text("")
    line, phrases = EARLY[case]
    ran = run(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(tmp_path) == {"there.txt"}


LATE = {
    "more edges than there are": (
        "discover induction --algorithm eap --n-edges 99999",
        ["n_edges is 99999", "the graph has 257 edges"],
    ),
    "more nodes than there are": (
        "discover induction --algorithm hisp --set n_nodes=99999",
        ["n_nodes is 99999", "heads and MLPs"],
    ),
    "more edges than there are to learn": (
        "discover induction --algorithm subnetwork-probing --n-edges 99999",
        ["n_edges is 99999", "only 257 edges"],
    ),
    "more prompts than there are": (
        "discover addition --task-set max_digits=1 --limit 5000",
        ["different discovery prompts", "draws gave no new one", "5000 were asked for"],
    ),
    "digits beyond 64 bits": (
        "discover addition --task-set max_digits=99999999999",
        ["max_digits is 99999999999", "at most 18"],
    ),
    "memory too small": (
        "discover induction --memory 1e-6",
        ["One evaluation of one prompt", "limit"],
    ),
    "model that is nowhere": (
        "discover induction --model induction-2",
        ["'induction-2'", "Did you mean 'induction-2l'"],
    ),
    "model folder that is not there": ("discover induction --model ./gone", ["no folder './gone'"]),
}


@pytest.mark.parametrize("case", LATE)
def test_bad_value_is_refused_and_nothing_is_left(
    run: Callable[..., Ran], tmp_path: Path, case: str
) -> None:
    line, phrases = LATE[case]
    ran = run(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert [phrase for phrase in phrases if phrase not in ran.err] == [], ran.err
    assert files_below(tmp_path) == set()


def test_negative_threshold_makes_sense_where_the_sign_counts(run: Callable[..., Ran]) -> None:
    negative = ("discover", "induction", "--threshold=-0.1", "--dry-run", "--limit=2", "--quiet")
    assert run(*negative, "--signed").code == 0
    ran = run(*negative)
    assert ran.code == 2
    assert "Negative thresholds are for the signed test (--signed" in ran.err
