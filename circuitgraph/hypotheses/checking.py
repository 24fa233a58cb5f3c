"""All that is wrong with a hypothesis, at once, before any model runs.

Three stages: the text alone; against the model and the task; the program on prompts. A stage is
left out if its questions make no sense after the problems of the stage before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from circuitgraph.errors import CircuitGraphError, HypothesisError, list_problems
from circuitgraph.hypotheses.checks.declared import check_declarations
from circuitgraph.hypotheses.checks.model import check_names, check_paths, check_positions
from circuitgraph.hypotheses.checks.prompts import check_on_prompts
from circuitgraph.hypotheses.checks.structure import check_structure, find_unused, find_unwritten
from circuitgraph.hypotheses.diagnostics import Diagnostic, format_error, locate_error
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.study import Study


@dataclass
class CheckReport:
    """Problems of a hypothesis, which must be mended, and notes, which are worth knowing.

    Attributes:
        study: the hypothesis with its model and task, if they could be loaded.
    """

    hypothesis: Hypothesis
    problems: list[Diagnostic] = field(default_factory=list)
    notes: list[Diagnostic] = field(default_factory=list)
    study: Study | None = None

    def raise_problems(self) -> None:
        """Raise `HypothesisError` with all problems, if there are any."""
        if self.problems:
            ordered = sorted(
                dict.fromkeys(self.problems), key=lambda p: (p.location.file, p.location.line)
            )
            title = f"The hypothesis {self.hypothesis.name!r} cannot be tested as it is written:"
            raise HypothesisError(
                list_problems(title, list(map(str, ordered)), limit=50, several_lines=True)
            )


def check_study(study: Study) -> list[Diagnostic]:
    """Refuse a hypothesis that cannot be tested as it is written; return what is worth knowing.

    Raises:
        HypothesisError: with file and line of every problem.
    """
    report = _report_on_study(study)
    report.raise_problems()
    return report.notes


def list_study_problems(study: Study) -> list[Diagnostic]:
    """Everything that `check_study` would refuse."""
    return _report_on_study(study).problems


def list_text_problems(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What can be found wrong without any model: a part of `list_study_problems`."""
    report = CheckReport(hypothesis)
    _check_text(report)
    return report.problems


def open_checked(
    hypothesis: Hypothesis,
    *,
    model: str | None = None,
    seed: int = 0,
    loading: Mapping[str, Any] | None = None,
) -> Study:
    """Load the model and the task of a hypothesis, and refuse it if anything is wrong with it.

    Args:
        model: instead of the hypothesis's own.
        loading: keywords of `circuitgraph.load_model`.

    Raises:
        HypothesisError: with file and line of every problem, a model that cannot be loaded among
            them.
    """
    report = CheckReport(hypothesis)
    is_program = _check_text(report)
    wrong_names = check_names(hypothesis)
    report.problems += wrong_names
    if not wrong_names:
        try:
            report.study = Study.open(hypothesis, model=model, seed=seed, loading=loading)
        except CircuitGraphError as error:
            report.problems.append(Diagnostic(hypothesis.location, str(error)))
    if report.study is not None and is_program:
        _check_with_model(report, report.study)
    report.raise_problems()
    if report.study is None:
        raise HypothesisError(f"{hypothesis.name!r} was not opened with its model.")
    return report.study


def _report_on_study(study: Study) -> CheckReport:
    report = CheckReport(study.hypothesis, study=study)
    if _check_text(report):
        _check_with_model(report, study)
    return report


def _check_text(report: CheckReport) -> bool:
    """The first stage; False if the variables are no program: then no other stage makes sense."""
    hypothesis = report.hypothesis
    broken = check_structure(hypothesis)
    report.problems += broken
    report.problems += check_declarations(hypothesis)
    if not broken:
        report.problems += find_unused(hypothesis)
        report.problems += find_unwritten(hypothesis)
    return not broken


def _check_with_model(report: CheckReport, study: Study) -> None:
    """The second and the third stage."""
    hypothesis = report.hypothesis
    try:
        prompts = study.sample
    except CircuitGraphError as error:
        report.problems.append(Diagnostic(hypothesis.location, str(error)))
        return
    except Exception as error:  # of the user's own function
        location = locate_error(error, hypothesis.location.file)
        if location is None:
            raise
        message = f"the condition where= raises {format_error(error)}"
        report.problems.append(Diagnostic(location, message))
        return
    wrong_positions = check_positions(study, prompts)
    report.problems += wrong_positions
    if not wrong_positions:
        report.problems += check_paths(study)
    if not find_unwritten(hypothesis):
        problems, notes = check_on_prompts(study, prompts)
        report.problems += problems
        report.notes += notes
