"""What pytest loads: hypothesis files are collected, and each of their claims is a test.

Collecting executes a file, as pytest does with every test file; it loads no model, and neither jax
nor torch. Everything heavy is imported when the first claim runs, so that this plugin costs nothing
in projects without hypothesis files.
"""

from __future__ import annotations

import argparse
import ast
import json
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
# Files that pytest and packaging give a meaning of their own.
_RESERVED_NAMES = ("conftest.py", "__init__.py", "setup.py")
_IMPORTS = re.compile(
    r"^[ \t]*(?:from|import)\s[^\n#]*\bcircuitgraph"
    r"(?:\.hypotheses\b|\s+import\b[^\n#]*\bhypotheses\b)",
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
        "--circuitgraph-loading",
        type=json.loads,
        metavar="JSON",
        help="How to load the model, as keywords of circuitgraph.load_model: "
        '\'{"dtype": "bfloat16"}\'.',
    )
    group.addoption("--circuitgraph-progress", action="store_true", help=argparse.SUPPRESS)
    group.addoption(
        "--circuitgraph-seed",
        type=_make_number_parser(0),
        metavar="N",
        default=0,
        help="Seed of all that is drawn.",
    )
    group.addoption(
        "--circuitgraph-prompts",
        type=_make_number_parser(2),
        metavar="N",
        help="Take statistics on so many prompts. [default: the profile's number, or the file's]",
    )


def _make_number_parser(minimum: int) -> Any:
    def parse_whole_number(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {minimum}, not {text!r}"
            )
        return int(text)

    return parse_whole_number


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, so that ``-m circuitgraph`` works under strict markers too."""
    config.addinivalue_line("markers", f"{MARKER}: a claim of a hypothesis file.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A hypothesis file in a folder; one named on the command line has the next hook."""
    if parent.session.isinitpath(file_path) or not _should_collect(file_path, parent.config):
        return None
    return HypothesisFile.from_parent(parent, path=file_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """A hypothesis file named on the command line.

    pytest makes a module of any such file; this hook comes first, or the file would run twice.
    """
    if not _should_collect(module_path, parent.config):
        return None
    return HypothesisFile.from_parent(parent, path=module_path)


def _should_collect(path: Path, config: pytest.Config) -> bool:
    """Whether a file is a hypothesis file that pytest would not collect by its name already."""
    if path.suffix != ".py" or path.name in _RESERVED_NAMES:
        return False
    patterns = config.getini("python_files")
    if any(
        fnmatch(
            str(path) if os.sep in pattern else path.name,
            f"*{os.sep}{pattern}" if os.sep in pattern else pattern,
        )
        for pattern in patterns
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
    """A file with one hypothesis, or with several, which are collectors then."""

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
                hypotheses = load_hypotheses(self.path)
            except NoHypothesisError as error:
                if self.session.isinitpath(self.path):
                    raise self.CollectError(_format_message(error)) from None
                return  # a module of helpers in somebody's folder
            except CircuitGraphError as error:
                raise self.CollectError(_format_message(error)) from None
        if len(hypotheses) == 1:
            yield from make_items(self, self, hypotheses[0])
        else:
            for name, hypothesis in zip(
                number_repeats(make_slug(h.name) for h in hypotheses), hypotheses, strict=True
            ):
                yield OneOfSeveral.from_parent(self, name=name, file=self, hypothesis=hypothesis)

    def open_context(self, hypothesis: Hypothesis) -> Context:
        """The context that the claims of one hypothesis share in this process."""
        from circuitgraph.hypotheses.claims import Context

        if id(hypothesis) not in self._contexts:
            option = self.config.option
            profile = option.circuitgraph_profile or ("ci" if _runs_on_ci() else "dev")
            self._contexts[id(hypothesis)] = Context(
                hypothesis,
                profile,
                option.circuitgraph_model,
                option.circuitgraph_seed,
                option.circuitgraph_prompts,
                option.circuitgraph_loading,
                option.circuitgraph_progress,
            )
        return self._contexts[id(hypothesis)]

    def teardown(self) -> None:
        """Free the models when the file's last claim is done."""
        self._contexts.clear()


class OneOfSeveral(pytest.Collector):
    """One of the hypotheses of a file."""

    def __init__(self, file: HypothesisFile, hypothesis: Hypothesis, **given: Any) -> None:
        super().__init__(**given)
        self.file, self.hypothesis = file, hypothesis

    def collect(self) -> Iterator[pytest.Item]:
        """Its claims."""
        return make_items(self, self.file, self.hypothesis)


def make_items(
    parent: pytest.Collector, file: HypothesisFile, hypothesis: Hypothesis
) -> Iterator[ClaimItem]:
    """Make an item of each claim of a hypothesis."""
    from circuitgraph.hypotheses.claims import list_claims

    for claim in list_claims(hypothesis):
        # Given as text, because pytest 9 would read the brackets of the name as parameters.
        nodeid = f"{parent.nodeid}::{claim.id}"
        yield ClaimItem.from_parent(
            parent, name=claim.id, nodeid=nodeid, claim=claim, file=file, hypothesis=hypothesis
        )


class NotHeld(Exception):  # noqa: N818 (a result, not an error)
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

        try:
            with _warnings_as_in_a_program(), _statistics_of(self):
                _keep_compiled_programs()
                verdict = self.file.open_context(self.hypothesis).test_claim(self.claim)
        except CircuitGraphError as error:
            self._add_properties("error", _format_message(error))
            raise
        self._add_properties(verdict.word, verdict.summary, verdict.detail)
        if not verdict.held:
            raise NotHeld(verdict)
        self.add_report_section("call", "verdict", str(verdict))

    def _add_properties(self, verdict: str, summary: str, detail: str = "") -> None:
        """Add the verdict to what reports, JUnit's XML and ``circuitgraph test`` read."""
        properties = {
            "hypothesis": self.hypothesis.name,
            "verdict": verdict,
            "summary": summary,
            "detail": detail,
        }
        self.user_properties += [(f"{MARKER} {name}", text) for name, text in properties.items()]

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any
    ) -> Any:
        """The verdict as text; a traceback only for an error that should not have happened."""
        from circuitgraph.errors import CircuitGraphError

        if isinstance(excinfo.value, NotHeld):
            return str(excinfo.value)
        if isinstance(excinfo.value, CircuitGraphError):
            return f"Error: {_format_message(excinfo.value)}"
        excinfo.traceback = excinfo.traceback.cut(path=__file__)
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the claim stands in its file."""
        return self.path, self.claim.location.line - 1, self.name


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """With ``-v``, the summary beside each claim that held; failures print it anyway.

    A failure that is no refutation has its own word.
    """
    if getattr(report, "when", None) != "call":
        return None
    properties = dict(report.user_properties)
    word = properties.get(f"{MARKER} verdict")
    if report.failed and word in ("not shown", "not tested"):
        return "failed", "F", f"FAILED ({word})"
    summary = properties.get(f"{MARKER} summary") if report.passed else None
    return None if summary is None else ("passed", ".", f"PASSED ({' '.join(summary.split())})")


def _format_message(error: Exception) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", [])])


def _runs_on_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@contextmanager
def _warnings_as_in_a_program() -> Iterator[None]:
    """Python's default filters, in place of those of pytest and of the project.

    A project that turns warnings into errors does not mean those of the libraries that we use.
    """
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in (
            DeprecationWarning,
            PendingDeprecationWarning,
            ImportWarning,
            ResourceWarning,
        ):
            warnings.simplefilter("ignore", category)
        yield


def _keep_compiled_programs() -> None:
    import jax

    from circuitgraph.engine.compile_cache import keep_compiled_programs

    # The attribute is made at run time, so that pyright does not know it.
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if folder is None:  # else the project chose its own folder
        keep_compiled_programs()


@contextmanager
def _statistics_of(item: pytest.Item) -> Iterator[None]:
    """Keep statistics of ``hypothesis`` where ``--hypothesis-show-statistics`` looks for them."""
    from hypothesis.statistics import collector, describe_statistics

    def describe(statistics: Any) -> None:
        item.hypothesis_statistics = describe_statistics({**statistics, "nodeid": item.nodeid})  # pyright: ignore

    # pyright reads the type off the default, which is None.
    with collector.with_value(describe):  # pyright: ignore[reportArgumentType]
        yield
