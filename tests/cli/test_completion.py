"""What the Tab key offers: all registered names and no others, without loading an array library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from circuitgraph.analysis.base import analyses
from circuitgraph.cli import completion
from circuitgraph.discovery.base import algorithms
from circuitgraph.engine.ablation import ablations
from circuitgraph.models.constructed.named_programs import named_programs
from circuitgraph.models.loading import shipped_models
from circuitgraph.tasks.base import tasks
from circuitgraph.tasks.metrics import metrics
from tests import users
from tests.cli.conftest import Ran


@pytest.mark.parametrize(
    ("complete", "names"),
    [
        (completion.complete_algorithms, algorithms.names),
        (completion.complete_analyses, analyses.names),
        (completion.complete_metrics, metrics.names),
        (completion.complete_ablations, ablations.names),
        (completion.complete_tasks, tasks.names),
    ],
)
def test_names_in_the_source_are_the_registered_ones(
    complete: Callable[[str], list[str]], names: Callable[[], list[str]]
) -> None:
    """Additions of other tests are in the registries, but in no file of the package."""
    registered = [name for name in names() if not name.startswith("test")]
    assert set(complete("")) <= set(registered)
    assert len(complete("")) >= 4
    assert complete("") or registered
    first = sorted(complete(""))[0]
    assert first in complete(first[:2])
    assert complete("no such") == []


def test_every_decorated_name_is_offered() -> None:
    """The other way round, in a process in which nothing else was registered."""
    code = (
        "from circuitgraph.cli import completion as c\n"
        "from circuitgraph.analysis.base import analyses\n"
        "from circuitgraph.discovery.base import algorithms\n"
        "from circuitgraph.tasks.base import tasks\n"
        "from circuitgraph.tasks.metrics import metrics\n"
        "print(c.complete_analyses('') == analyses.names(),\n"
        "      c.complete_algorithms('') == algorithms.names(),\n"
        "      c.complete_metrics('') == metrics.names(),\n"
        "      sorted(c.complete_tasks('')) == tasks.names())"
    )
    assert users.python("-c", code).stdout == "True True True True\n"


def test_models_are_shipped_ones_programs_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner" / "model").mkdir(parents=True)
    programs = [f"constructed:{name}" for name in named_programs]
    assert sorted(completion.complete_models("")) == sorted([*shipped_models(), *programs])
    assert completion.complete_models("inn") == ["inner"]
    assert completion.complete_models("inner/") == ["inner/model"]
    assert completion.complete_models("nowhere/x") == []
    assert "addition-m0" in completion.complete_dictionaries("add")


def test_a_shell_gets_names_without_jax() -> None:
    code = (
        "import os, sys\n"
        "os.environ |= {'_CIRCUITGRAPH_COMPLETE': 'complete_bash', 'COMP_CWORD': '2',\n"
        "               'COMP_WORDS': 'circuitgraph analyze head-t'}\n"
        "sys.argv = ['circuitgraph']\n"
        "from circuitgraph.cli.main import app\n"
        "try: app(prog_name='circuitgraph')\n"
        "except SystemExit: print([m for m in ('jax', 'torch') if m in sys.modules])"
    )
    assert users.python("-c", code).stdout == "head-types\n[]\n"


def test_a_level_of_messages_is_checked_before_anything_runs(run: Callable[..., Ran]) -> None:
    ran = run("--log-level", "loud", "list", "tasks")
    assert (ran.code, ran.out) == (2, "")
    assert "--log-level is 'loud': expected one of debug, info, warning, error." in ran.err


def test_libraries_are_heard_at_the_level_that_is_given() -> None:
    line = ("list", "models", "--quiet")
    code = (
        "import logging, os, sys\n"
        "from circuitgraph.cli.logs import set_log_level\n"
        "set_log_level('info'); logging.getLogger('jax').info('told')\n"
        "print(os.environ['TRANSFORMERS_VERBOSITY'], os.environ['HF_HUB_VERBOSITY'])"
    )
    told = users.python("-c", code)
    assert told.stdout == "info info\n"
    assert told.stderr.endswith("INFO jax: told\n")
    assert users.circuitgraph("--log-level", "error", *line).stderr == ""
