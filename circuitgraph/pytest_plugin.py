"""What pytest loads: hypothesis files are collected, and each of their claims is a test.

Collecting executes the file, as it does any test's; it loads no model, and neither jax nor torch.
Everything heavy is
imported when the first claim runs, so that this plugin costs nothing in projects without hypothesis
files.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from circuitgraph.hypotheses.claims import Claim, Context
    from circuitgraph.hypotheses.diagnostics import Verdict
    from circuitgraph.hypotheses.language import Hypothesis

PROFILES = ("dev", "ci", "hunt")
MARKER = "circuitgraph"
_OTHERS = (
    "conftest.py",
    "__init__.py",
    "setup.py",
)  # files that pytest and packaging give a meaning of their own
_IMPORTS = re.compile(
    r"^[ \t]*(?:from|import)\s[^\n#]*\bcircuitgraph(?:\.hypotheses\b|\s+import\b[^\n#]*\bhypotheses\b)",
    re.MULTILINE,
)
_MAKES = re.compile(r"\bHypothesis\(")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of hypothesis files."""
    group = parser.getgroup("circuitgraph", "hypothesis files of circuitgraph")
    group.addoption(
        "--circuitgraph-profile",
        choices=PROFILES,
        help="How hard claims are tested. [default: ci where the environment variable CI is set, "
        "else dev]",
    )
    group.addoption(
        "--circuitgraph-model",
        metavar="NAME",
        help="Test this model in place of the hypothesis's own.",
    )
    group.addoption(
        "--circuitgraph-seed",
        type=_whole(0),
        metavar="N",
        default=0,
        help="Seed of all that is drawn.",
    )
    group.addoption(
        "--circuitgraph-prompts",
        type=_whole(2),
        metavar="N",
        help="Take statistics on so many prompts. [default: the profile's number, or the file's]",
    )


def _whole(least: int) -> Any:
    def whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least}, not {text!r}")
        return int(text)

    return whole_number


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker means, so that ``-m circuitgraph`` works under strict markers too."""
    config.addinivalue_line("markers", f"{MARKER}: a claim of a hypothesis file.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Hypothesis files in a folder. Those named one by one come by `pytest_pycollect_makemodule`."""
    if parent.session.isinitpath(file_path) or not _is_ours(file_path, parent.config):
        return None
    return HypothesisFile.from_parent(parent, path=file_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """pytest makes a module of any file named on its command line; a hypothesis file is not to be
    run twice.
    """
    return (
        HypothesisFile.from_parent(parent, path=module_path)
        if _is_ours(module_path, parent.config)
        else None
    )


def _is_ours(path: Path, config: pytest.Config) -> bool:
    if path.suffix != ".py" or path.name in _OTHERS:
        return False
    patterns = config.getini("python_files")
    if any(
        fnmatch(str(path) if os.sep in p else path.name, f"*{os.sep}{p}" if os.sep in p else p)
        for p in patterns
    ):
        return False
    return is_hypothesis_file(path)


def is_hypothesis_file(path: Path) -> bool:
    """Whether a file imports the language and makes a hypothesis, judged by its text."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if not (_MAKES.search(text) and _IMPORTS.search(text)):
        return False
    try:
        calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError):
        return True  # its author wants to know what is wrong with it
    return any(
        "Hypothesis" in (getattr(call, "id", None), getattr(call, "attr", None)) for call in calls
    )


class HypothesisFile(pytest.File):
    """A file with one hypothesis, or several, each a collector of its own then."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._contexts: dict[int, Context] = {}

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Execute the file and list its claims."""
        with _warnings_as_in_a_program():
            from circuitgraph.errors import CircuitGraphError
            from circuitgraph.hypotheses.claims import make_slug, number_repeats
            from circuitgraph.hypotheses.loading import NoHypothesisError, load_hypotheses

            try:
                found = load_hypotheses(self.path)
            except NoHypothesisError as error:
                if self.session.isinitpath(self.path):
                    raise self.CollectError(_message(error)) from None
                return  # a module of helpers in somebody's folder
            except CircuitGraphError as error:
                raise self.CollectError(_message(error)) from None
        if len(found) == 1:
            yield from items(self, self, found[0])
        else:
            for name, hypothesis in zip(
                number_repeats(make_slug(h.name) for h in found), found, strict=True
            ):
                yield OneOfSeveral.from_parent(self, name=name, file=self, hypothesis=hypothesis)

    def context(self, hypothesis: Hypothesis) -> Context:
        """What the claims of one hypothesis share in this process."""
        from circuitgraph.hypotheses.claims import Context

        if id(hypothesis) not in self._contexts:
            option = self.config.option
            profile = option.circuitgraph_profile or ("ci" if _on_ci() else "dev")
            self._contexts[id(hypothesis)] = Context(
                hypothesis,
                profile,
                option.circuitgraph_model,
                option.circuitgraph_seed,
                option.circuitgraph_prompts,
            )
        return self._contexts[id(hypothesis)]

    def teardown(self) -> None:
        """Let go of the models when the file's last claim is done."""
        self._contexts.clear()


class OneOfSeveral(pytest.Collector):
    """One of the hypotheses of a file."""

    def __init__(self, file: HypothesisFile, hypothesis: Hypothesis, **given: Any) -> None:
        super().__init__(**given)
        self.file, self.hypothesis = file, hypothesis

    def collect(self) -> Iterator[pytest.Item]:
        """Its claims."""
        return items(self, self.file, self.hypothesis)


def items(
    parent: pytest.Collector, file: HypothesisFile, hypothesis: Hypothesis
) -> Iterator[ClaimItem]:
    """An item for each claim of a hypothesis."""
    from circuitgraph.hypotheses.claims import list_claims

    for claim in list_claims(hypothesis):
        nodeid = f"{parent.nodeid}::{claim.id}"  # as text, in which pytest 9 sees the brackets
        yield ClaimItem.from_parent(
            parent, name=claim.id, nodeid=nodeid, claim=claim, file=file, hypothesis=hypothesis
        )


class NotHeld(Exception):  # noqa: N818 (what was found, not what went wrong)
    """A claim is refuted, or was not shown; carries the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))


class ClaimItem(pytest.Item):
    """One claim of a hypothesis."""

    def __init__(
        self, claim: Claim, file: HypothesisFile, hypothesis: Hypothesis, **given: Any
    ) -> None:
        super().__init__(**given)
        self.claim, self.file, self.hypothesis = claim, file, hypothesis
        self.add_marker(MARKER)

    def runtest(self) -> None:
        """Test the claim."""
        from circuitgraph.errors import CircuitGraphError
        from circuitgraph.hypotheses.claims import Untested

        try:
            with _warnings_as_in_a_program(), _statistics_of(self):
                _keep_compiled_programs()
                verdict = self.file.context(self.hypothesis).test_claim(self.claim)
        except CircuitGraphError as error:
            self._tell("error", _message(error))
            raise
        word = (
            "held" if verdict.held else "not tested" if isinstance(verdict, Untested) else "refuted"
        )
        self._tell(word, verdict.summary, verdict.detail)
        if not verdict.held:
            raise NotHeld(verdict)
        self.add_report_section("call", "verdict", str(verdict))

    def _tell(self, verdict: str, summary: str, detail: str = "") -> None:
        """What reports, JUnit's XML and ``circuitgraph test`` read."""
        told = {
            "hypothesis": self.hypothesis.name,
            "verdict": verdict,
            "summary": summary,
            "detail": detail,
        }
        self.user_properties += [(f"{MARKER} {name}", text) for name, text in told.items()]

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any
    ) -> Any:
        """What was found; a traceback only for what should not have happened."""
        from circuitgraph.errors import CircuitGraphError

        if isinstance(excinfo.value, NotHeld):
            return str(excinfo.value)
        if isinstance(excinfo.value, CircuitGraphError):
            return f"Error: {_message(excinfo.value)}"
        excinfo.traceback = excinfo.traceback.cut(path=__file__)
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the claim stands in its file."""
        return self.path, self.claim.location.line - 1, self.name


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """With ``-v``, what was found beside each claim that held; what was found of the others is
    their failure's text.
    """
    if getattr(report, "when", None) != "call" or not report.passed:
        return None
    summary = dict(report.user_properties).get(f"{MARKER} summary")
    return None if summary is None else ("passed", ".", f"PASSED ({' '.join(summary.split())})")


def _message(error: Exception) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def _on_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@contextmanager
def _warnings_as_in_a_program() -> Iterator[None]:
    """Python's own filters: a project that turns warnings into errors does not mean those of the
    libraries below.
    """
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for unwanted in (
            DeprecationWarning,
            PendingDeprecationWarning,
            ImportWarning,
            ResourceWarning,
        ):
            warnings.simplefilter("ignore", unwanted)
        yield


def _keep_compiled_programs() -> None:
    import jax

    from circuitgraph.engine.compile_cache import keep_compiled_programs

    chosen = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
    if chosen is None:  # or it is the project's own choice
        keep_compiled_programs()


@contextmanager
def _statistics_of(item: pytest.Item) -> Iterator[None]:
    """Where hypothesis's own plugin looks for the statistics that ``--hypothesis-show-statistics``
    prints.
    """
    from hypothesis.statistics import collector, describe_statistics

    def note(found: Any) -> None:
        item.hypothesis_statistics = describe_statistics({**found, "nodeid": item.nodeid})  # pyright: ignore

    with collector.with_value(note):  # pyright: ignore[reportArgumentType] (typed by its default, None)
        yield
