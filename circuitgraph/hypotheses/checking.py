"""All that is wrong with a hypothesis, at once, before any model runs.

Three stages: the text alone; against the model and the task; the program on prompts. A stage whose
    questions make no
sense after what the one before it found is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from circuitgraph.errors import CircuitGraphError, HypothesisError, list_problems
from circuitgraph.hypotheses.checks.declared import declared_problems
from circuitgraph.hypotheses.checks.model import name_problems, path_problems, place_problems
from circuitgraph.hypotheses.checks.prompts import prompt_problems
from circuitgraph.hypotheses.checks.structure import structure_problems, unused, unwritten
from circuitgraph.hypotheses.diagnostics import Diagnostic, format_error, locate_error
from circuitgraph.hypotheses.language import Hypothesis
from circuitgraph.hypotheses.study import Study


@dataclass
class Checked:
    """What was found: problems, which must be mended, and notes, which are worth knowing.

    Attributes:
        study: the hypothesis with its model and task, if they could be loaded.
    """

    hypothesis: Hypothesis
    problems: list[Diagnostic] = field(default_factory=list)
    notes: list[Diagnostic] = field(default_factory=list)
    study: Study | None = None

    @property
    def opened(self) -> Study:
        """The study of a hypothesis without problems."""
        if self.study is None:
            raise HypothesisError(f"{self.hypothesis.name!r} was not opened with its model.")
        return self.study

    def refuse(self) -> None:
        """Raise `HypothesisError` with all problems, if there are any."""
        if self.problems:
            ordered = sorted(
                dict.fromkeys(self.problems), key=lambda f: (f.location.file, f.location.line)
            )
            title = f"The hypothesis {self.hypothesis.name!r} cannot be tested as it is written:"
            raise HypothesisError(
                list_problems(title, [str(finding) for finding in ordered], limit=50)
            )


def check(study: Study) -> list[Diagnostic]:
    """Refuse a hypothesis that cannot be tested as it is written; what is worth knowing of it comes
    back.

    Raises:
        HypothesisError: with file and line of every problem.
    """
    checked = Checked(study.hypothesis, study=study)
    if not _text(checked):
        _with_model(checked, study)
    checked.refuse()
    return checked.notes


def problems_of(study: Study) -> list[Diagnostic]:
    """Everything that `check` would refuse."""
    checked = Checked(study.hypothesis, study=study)
    if not _text(checked):
        _with_model(checked, study)
    return checked.problems


def text_problems(hypothesis: Hypothesis) -> list[Diagnostic]:
    """What can be found wrong without any model: a part of `problems_of`."""
    checked = Checked(hypothesis)
    _text(checked)
    return checked.problems


def open_checked(hypothesis: Hypothesis, *, model: str | None = None, seed: int = 0) -> Study:
    """Load the model and the task of a hypothesis, and refuse it if anything is wrong with it.

    Args:
        model: instead of the hypothesis's own.

    Raises:
        HypothesisError: with file and line of every problem, a model that cannot be loaded among
            them.
    """
    checked = Checked(hypothesis)
    broken = _text(checked)
    names = name_problems(hypothesis)
    checked.problems += names
    if not names:
        try:
            checked.study = Study.open(hypothesis, model=model, seed=seed)
        except CircuitGraphError as error:
            checked.problems.append(Diagnostic(hypothesis.location, str(error)))
    if checked.study is not None and not broken:
        _with_model(checked, checked.study)
    checked.refuse()
    return checked.opened


def _text(checked: Checked) -> bool:
    """The first stage; whether the variables are no program, so that no other stage makes sense."""
    hypothesis = checked.hypothesis
    broken = structure_problems(hypothesis)
    checked.problems += broken
    checked.problems += declared_problems(hypothesis)
    if not broken:
        checked.problems += unused(hypothesis)
        checked.problems += unwritten(hypothesis)
    return bool(broken)


def _with_model(checked: Checked, study: Study) -> None:
    """The second and the third stage."""
    hypothesis = checked.hypothesis
    try:
        prompts = study.sample
    except CircuitGraphError as error:
        checked.problems.append(Diagnostic(hypothesis.location, str(error)))
        return
    except Exception as error:  # of the user's own function
        where = locate_error(error, hypothesis.location.file)
        if where is None:
            raise
        checked.problems.append(
            Diagnostic(where, f"the condition where= raises {format_error(error)}")
        )
        return
    places = place_problems(study, prompts)
    checked.problems += places
    if not places:
        checked.problems += path_problems(study)
    if not unwritten(hypothesis):
        problems, notes = prompt_problems(study, prompts)
        checked.problems += problems
        checked.notes += notes
