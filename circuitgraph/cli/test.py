"""``circuitgraph test``: the claims of hypothesis files as tests, run by pytest with our plugin."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from circuitgraph.catalog.single_files import check_file
from circuitgraph.cli import options
from circuitgraph.cli.options import check_counts
from circuitgraph.cli.output import Output
from circuitgraph.cli.verdicts import Results
from circuitgraph.engine.compile_cache import cache_folder
from circuitgraph.errors import ArgumentError, MissingExtraError, check_between, list_problems

Profile = Literal["dev", "ci", "hunt"]
_PYTEST_ARGUMENT = "--for-pytest"


class WithArgumentsForPytest(TyperCommand):
    """A command of which the arguments behind ``--`` are pytest's, and never paths of ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hand each argument behind ``--`` on as an option."""
        n_own = args.index("--") if "--" in args else len(args)
        for_pytest = [f"{_PYTEST_ARGUMENT}={argument}" for argument in args[n_own + 1 :]]
        return super().parse_args(ctx, [*args[:n_own], *for_pytest])


@options.expand_options
def run_claims(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Hypothesis files, folders of them, or single claims: FILE.py::scrub.",
            show_default=False,
        ),
    ],
    profile: Annotated[
        Profile | None,
        typer.Option(
            "--profile", help="How hard claims are tested. [default: ci where CI is set, else dev]"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Test this model in place of the hypotheses' own.")
    ] = None,
    loading: options.LoadingOptions = options.AS_RECORDED,
    dictionaries: options.DictionariesOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all that is drawn.")] = 0,
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts",
            help="Take statistics on so many prompts. [default: the profile's, or the file's]",
        ),
    ] = None,
    expression: Annotated[
        str | None,
        typer.Option(
            "-k", metavar="EXPRESSION", help="Only claims whose ids match: 'rival or scrub'."
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junitxml", metavar="FILE", help="Write the results as JUnit XML as well."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("-n", metavar="N", help="In so many processes, or auto; needs pytest-xdist."),
    ] = None,
    for_pytest: Annotated[list[str] | None, typer.Option(_PYTEST_ARGUMENT, hidden=True)] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Test every claim of hypothesis files: program, expectations, scrubbing, rivals, properties.

    HYPOTHESIS FILES ARE EXECUTED AS PYTHON: run only those that you would run as a program.

    Exit status: 0 if all claims held, 1 if one is refuted or was not shown, 2 if a file or an
    option cannot be used or there is no claim. The settings of a project around the files
    (pytest.ini, pyproject.toml, conftest.py) do not count here; `pytest hypotheses/` runs the same
    claims with them. What stands behind `--` goes to pytest.

    Examples:

    - `circuitgraph test hypotheses/`

    - `circuitgraph test hypotheses/induction.py --profile hunt -k holds`

    - `circuitgraph test "hypotheses/induction.py::rival[no previous-token head]"`

    - `circuitgraph test hypotheses/ -n auto --junitxml claims.xml -- -x --durations=5`
    """
    output = Output(as_json, quiet)
    from circuitgraph.tasks.base import MOST_PROMPTS

    check_counts(None, 1, seed)
    if prompts is not None:
        check_between("--prompts", prompts, 2, MOST_PROMPTS)
    _check_paths(paths)
    if junit is not None:
        check_file(junit, is_own=_is_report)
    arguments = [*_list_isolating_options(paths), f"--circuitgraph-seed={seed}"]
    options_for_pytest = {
        "--circuitgraph-profile": profile,
        "--circuitgraph-model": model,
        "--circuitgraph-loading": json.dumps(loading.with_dictionaries(dictionaries), default=str),
        "--circuitgraph-prompts": prompts,
        "-k": expression,
        "--junitxml": junit,
    }
    for name, value in options_for_pytest.items():
        if value is not None:
            arguments += [name, str(value)]
    arguments += _list_worker_options(workers)
    if output.shows_bars and not sys.stderr.isatty():
        arguments.append("--circuitgraph-progress")
    results = Results()
    code = _run_pytest([*arguments, *(for_pytest or ()), *paths], results, output)
    results.print_summary(output)
    if results.interrupted:
        raise KeyboardInterrupt
    raise typer.Exit(results.choose_status(code))


def _is_report(content: bytes) -> bool:
    """Whether a file is what pytest writes there."""
    return content.lstrip().startswith(b"<?xml") and b"<testsuites" in content[:1000]


def _check_paths(paths: Sequence[str]) -> None:
    """Refuse what pytest would pass over in silence."""
    from circuitgraph.pytest_plugin import is_hypothesis_file

    problems = []
    for argument in paths:
        path = Path(argument.partition("::")[0])
        if not os.path.exists(path):
            problems.append(
                f"there is no file or folder {str(path)!r}: name a hypothesis file, or its folder"
            )
        elif path.is_file() and path.suffix != ".py":
            problems.append(f"{str(path)!r} is no Python file: its name must end in .py")
        elif path.is_file() and not is_hypothesis_file(path):
            problems.append(
                f"{str(path)!r} holds no hypothesis: expected an import from "
                "circuitgraph.hypotheses and a Hypothesis(...), as UTF-8 text"
            )
    if problems:
        raise ArgumentError(list_problems("These cannot be tested:", problems))


def _list_isolating_options(paths: Sequence[str]) -> list[str]:
    """Options that hide whatever a project around the files, or this user, has set for pytest."""
    cache = cache_folder() / "pytest"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        cache_options = ["-o", f"cache_dir={cache}"]
    except OSError:
        cache_options = ["-p", "no:cacheprovider"]
    return [
        *("-p", "circuitgraph", "-c", os.devnull, f"--rootdir={_choose_root(paths)}"),
        *("--noconftest", "--assert=plain"),
        *("-o", "python_files="),  # a hypothesis file can have any name
        *cache_options,
        # Its five garbage collections take a second with jax in the process.
        *("-p", "no:unraisableexception"),
        *("-v", "--no-header", "--tb=short", "--continue-on-collection-errors"),
    ]


def _choose_root(paths: Sequence[str]) -> str:
    """A folder around all files; pytest has no names for files outside its root."""
    try:
        return os.path.commonpath(
            [os.path.abspath(path.partition("::")[0]) for path in (".", *paths)]
        )
    except ValueError:  # on several drives
        return str(Path.cwd())


def _list_worker_options(workers: str | None) -> list[str]:
    if workers is None:
        return []
    if workers not in ("auto", "logical") and not (workers.isdecimal() and int(workers) > 0):
        raise ArgumentError(f"-n is {workers!r}: expected a number of processes from 1, or auto.")
    if find_spec("xdist") is None:
        raise MissingExtraError("-n needs pytest-xdist: pip install pytest-xdist")
    # The claims of a file share what is measured, so that a file is not split over processes.
    return ["-p", "xdist", "-n", workers, "--dist", "loadfile"]


def _run_pytest(arguments: Sequence[str], results: Results, output: Output) -> int:
    """Run pytest; its text is the result for a person, and with ``--json`` only a message."""
    import pytest

    with contextlib.ExitStack() as stack:
        stack.enter_context(_hide_variable("PYTEST_ADDOPTS"))
        stack.enter_context(_pass_progress())
        if output.quiet:
            sink = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(sink))
        elif output.as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        return int(pytest.main([*arguments], plugins=[results]))


@contextlib.contextmanager
def _pass_progress() -> Iterator[None]:
    """Send lines of progress past pytest, which holds back what tests write to stderr."""
    from circuitgraph.progress import send_progress

    try:
        number = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # no file, but something in a notebook or a test
        with send_progress(sys.stderr):
            yield
        return
    with open(number, "w", encoding="utf-8") as stream, send_progress(stream):
        yield


@contextlib.contextmanager
def _hide_variable(variable: str) -> Iterator[None]:
    value = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[variable] = value
