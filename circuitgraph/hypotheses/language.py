"""The language: variables, output, expectations, rivals and properties of one `Hypothesis`.

A variable is a decorated function whose parameters are its parents, as pytest's fixtures are; ``p``
is the prompt. Nothing is checked here but Python's own types: `circuitgraph.hypotheses.checking`
lists all that is wrong with a file at once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FrameType
from typing import Any, Literal

from circuitgraph.graph.node import ATTENTION_INPUTS
from circuitgraph.graph.site import Site, Sites

PROMPT = "p"  # the parameter that is the prompt
GIVEN = (PROMPT, "donor", "run", "relabel")  # what the function of a property can ask for
Unclaimed = Literal["joint", "everywhere", "separate", "keep"]
Align = Literal["role", "index"]
UNCLAIMED: tuple[Unclaimed, ...] = ("joint", "everywhere", "separate", "keep")
ALIGN: tuple[Align, ...] = ("role", "index")

At = Site | Iterable[Site]
Number = int | float


@dataclass(frozen=True)
class Location:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Variable:
    """A function of the prompt or of other variables, and the sites that carry its value.

    Attributes:
        sites: none for a step inside the sites of those that use it, which its parents then feed.
        routes: for ``q``, ``k`` and ``v`` the parents that enter there. A parent in none of them
            enters everywhere.
        through: for a parent the site that it passes on its way, if not by the direct path.
        role: what the site is called, in words.
        together: whether several sites share one donor.
    """

    name: str
    function: Callable[..., Any] = field(compare=False)
    sites: tuple[Site, ...]
    routes: Mapping[str, tuple[str, ...]] = field(hash=False)
    through: Mapping[str, Site] = field(hash=False)
    role: str
    together: bool
    location: Location

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, so that a file's variables can be tried out without any model."""
        return self.function(*args, **kwargs)

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the function's parameters."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def parents(self) -> tuple[str, ...]:
        """The variables among the parameters."""
        return tuple(name for name in self.parameters if name != PROMPT)

    def call_with(self, prompt: Any, values: Mapping[str, Any]) -> Any:
        """The function's value on a prompt on which the parents have these values."""
        return self.function(*(prompt if p == PROMPT else values[p] for p in self.parameters))


@dataclass(frozen=True)
class Expectation:
    """A number that the model should reach.

    Attributes:
        quantity: ``accuracy``, ``loss_recovered``, ``interchange_accuracy``, ``necessity``,
            ``attention``, or a metric.
        of: variables (or, for attention, the site) that it is about.
        to: the role that is attended to.
        n: how many prompts are drawn.
        rivals_below: what every rival's loss recovered must stay under.
    """

    quantity: str
    at_least: Number | None
    at_most: Number | None
    of: tuple[str, ...]
    site: Site | None
    to: str | None
    n: int | None
    rivals_below: Number | None
    location: Location

    @property
    def name(self) -> str:
        """The expectation in one line, as reports and test ids show it."""
        parts = [self.quantity]
        if self.of:
            parts.append("of " + "+".join(self.of))
        if self.site is not None:
            parts.append(f"of {self.site} to {self.to}")
        bounds = {">=": self.at_least, "<=": self.at_most, "rivals <": self.rivals_below}
        parts += [f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None]
        return " ".join(parts)


@dataclass(frozen=True)
class Rival:
    """The hypothesis with something else in place of a part; it should do worse.

    A rival may be wrong on paper.

    Attributes:
        drop: variables whose sites claim nothing, so that they are resampled like all else.
        replace: other functions for variables, whose parameters are then the parents.
        move: other sites for variables.
    """

    name: str
    drop: tuple[str, ...]
    replace: Mapping[str, Callable[..., Any]] = field(hash=False)
    move: Mapping[str, tuple[Site, ...]] = field(hash=False)
    location: Location


@dataclass(frozen=True)
class Property:
    """Something that holds for every prompt, but for an allowed share.

    Attributes:
        kind: ``holds`` (the function asserts), ``never`` (it returns what must not be), or one of
            the library's.
        function: takes what its parameters name: ``p``, ``donor``, ``run``, ``relabel``; None for
            a property of the library.
        of, settings: the variables that a property of the library is about, and its numbers.
        allow: the share of prompts that may be exceptions.
        max_examples: how many examples the hunt takes; the profile's number if None.
        exceptions: prompts, as text, that are known not to obey; they stay as explicit examples.
    """

    name: str
    kind: str
    function: Callable[..., Any] | None = field(compare=False)
    of: tuple[str, ...]
    settings: Mapping[str, Any] = field(hash=False)
    allow: Number
    max_examples: int | None
    exceptions: tuple[str, ...]
    location: Location


@dataclass(frozen=True)
class NamedDictionary:
    """A dictionary that goes beside the model.

    Attributes:
        name: of one that is shipped, of a folder or file beside the hypothesis file or above it, or
            of a place on the hub.
    """

    name: str
    location: Location


@dataclass(frozen=True)
class ReadingClaim:
    """What an analysis of the model should show.

    Attributes:
        method: name of the analysis (``circuitgraph list analyses``).
        settings: its own.
        function: takes the `Reading` and asserts something of it.
        n: how many prompts are drawn; 32 if None, or fewer where a file has fewer.
    """

    name: str
    method: str
    settings: Mapping[str, Any] = field(hash=False)
    function: Callable[..., Any] = field(compare=False)
    n: int | None
    location: Location


class Hypothesis:
    """What a model computes on a task, said so that it can be tested.

    Args:
        name: in words.
        task: name of a task (``circuitgraph list tasks``).
        model: name, folder or hub name of the model it is about.
        settings: of the task, such as ``{"corruption": "swap"}``.
        where: which of the task's prompts it is about, as a function of the prompt; all if None.
        metric: what the loss is; the task's default if None.
        unclaimed: how inputs that no claim covers are resampled. ``joint``: those of one node from
            one random prompt; ``everywhere``: those of all nodes from one; ``separate``: each edge
            from its own; ``keep``: not at all.
        align: ``role`` moves a donor's activations to the places of the same roles; ``index`` takes
            only donors whose roles stand at the same places.
    """

    def __init__(
        self,
        name: str,
        *,
        task: str,
        model: str,
        settings: Mapping[str, Any] | None = None,
        where: Callable[[Any], bool] | None = None,
        metric: str | None = None,
        unclaimed: Unclaimed = "joint",
        align: Align = "role",
    ) -> None:
        self.name, self.task, self.model, self.metric = name, task, model, metric
        self.settings: dict[str, Any] = dict(settings or {})
        self.selects = where
        self.unclaimed: Unclaimed = unclaimed
        self.align: Align = align
        self.location = _locate_caller()
        self.variables: list[Variable] = []
        self.output_variable: Variable | None = None
        self.expectations: list[Expectation] = []
        self.rivals: list[Rival] = []
        self.properties: list[Property] = []
        self.readings: list[ReadingClaim] = []
        self.dictionaries: list[NamedDictionary] = []
        self.outputs = 0  # how often an output was declared; checked to be once

    def var(
        self,
        at: At | None = None,
        *,
        q: Any = (),
        k: Any = (),
        v: Any = (),
        through: Mapping[Any, Site] | None = None,
        role: str = "",
        together: bool = False,
    ) -> Callable[[Callable[..., Any]], Variable]:
        """Declare the decorated function as a variable.

        Args:
            at: the site that carries it, or several, each with its own donor unless ``together``.
                Without any it is a step inside the sites of the variables that use it.
            q, k, v: for a head, the parents (names, or several) that enter each input. A parent
                that none of them names enters all that it can.
            through: for a parent, the site that it passes on the way here.
            role: what the site is called, such as "previous-token head".
        """

        def declare_variable(function: Callable[..., Any]) -> Variable:
            routes = dict(zip(ATTENTION_INPUTS, map(collect_names, (q, k, v)), strict=True))
            variable = Variable(
                name=function.__name__,
                function=function,
                sites=collect_sites(at),
                routes={name: parents for name, parents in routes.items() if parents},
                through={
                    collect_names(parent)[0]: site for parent, site in (through or {}).items()
                },
                role=role,
                together=together,
                location=_locate_function(function, self),
            )
            self.variables.append(variable)
            return variable

        return declare_variable

    def output(
        self, at: Site, *, through: Mapping[Any, Site] | None = None
    ) -> Callable[[Callable[..., Any]], Variable]:
        """Declare the decorated function as what the model says: a text, or a set of right texts.

        Args:
            at: ``logits`` at the role where the prompt ends.
        """

        def declare_output(function: Callable[..., Any]) -> Variable:
            self.output_variable = self.var(at, through=through, role="output")(function)
            self.outputs += 1
            return self.output_variable

        return declare_output

    def dictionary(self, *names: str) -> None:
        """Name dictionaries that go beside the model, so that sites can be their features.

        Dictionaries that whoever tests the hypothesis names, as with ``--dictionary``, stand in
        place of all of these.

        Args:
            names: of shipped ones (``circuitgraph list dictionaries``), of folders or files beside
                this file or above it, or of places on the hub.
        """
        location = _locate_caller()
        self.dictionaries += [NamedDictionary(name, location) for name in names]

    def expect(
        self,
        quantity: str,
        *,
        at_least: Number | None = None,
        at_most: Number | None = None,
        of: Any = (),
        to: str | None = None,
        n: int | None = None,
        rivals_below: Number | None = None,
    ) -> None:
        """Expect a number of the model, its 95 % interval inside the bounds; see `Expectation`."""
        site = of if isinstance(of, Site) else None
        about = () if site is not None else collect_names(of)
        self.expectations.append(
            Expectation(
                quantity, at_least, at_most, about, site, to, n, rivals_below, _locate_caller()
            )
        )

    def rival(
        self,
        name: str,
        *,
        drop: Any = (),
        move: Mapping[Any, At] | None = None,
        **replace: Callable[..., Any],
    ) -> None:
        """Name a rival: variables dropped, moved, or with other functions; see `Rival`."""
        moved = {
            collect_names(variable)[0]: collect_sites(at) for variable, at in (move or {}).items()
        }
        self.rivals.append(Rival(name, collect_names(drop), replace, moved, _locate_caller()))

    def holds(
        self,
        function: Callable[..., Any] | None = None,
        *,
        allow: Number = 0.0,
        max_examples: int | None = None,
        exceptions: Iterable[str] = (),
    ) -> Any:
        """Declare a property: the decorated function asserts something of every prompt.

        Its parameters say what it is given: ``p`` a prompt, ``donor`` another prompt, ``run`` what
        runs the model on a prompt, ``relabel`` a random exchange of words that the task treats
        alike.

        Args:
            allow: the share of prompts that may be exceptions; it is measured on the task's own
                distribution.
            exceptions: prompts that are known not to obey.
        """
        return self._declare_property("holds", function, allow, max_examples, tuple(exceptions))

    def never(
        self,
        function: Callable[..., Any] | None = None,
        *,
        allow: Number = 0.0,
        max_examples: int | None = None,
        exceptions: Iterable[str] = (),
    ) -> Any:
        """Declare a property: what the decorated function returns is true of no prompt.

        Otherwise as `holds`.
        """
        return self._declare_property("never", function, allow, max_examples, tuple(exceptions))

    def _declare_property(
        self,
        kind: str,
        function: Callable[..., Any] | None,
        allow: Number,
        max_examples: int | None,
        exceptions: tuple[str, ...],
    ) -> Any:
        def declare_function(function: Callable[..., Any]) -> Callable[..., Any]:
            location = _locate_function(function, self)
            self.properties.append(
                Property(
                    function.__name__,
                    kind,
                    function,
                    (),
                    {},
                    allow,
                    max_examples,
                    exceptions,
                    location,
                )
            )
            return function

        return declare_function if function is None else declare_function(function)

    def reading(self, method: str, *, n: int | None = None, **settings: Any) -> Any:
        """Declare what an analysis shows: the decorated function asserts something of its reading.

        The function is given a `Reading`, whose numbers `Reading.look_up` finds by the names of a
        row and a column.

        Args:
            method: name of the analysis, with its ``settings``.
            n: how many prompts, of those that the hypothesis is about.
        """

        def declare_function(function: Callable[..., Any]) -> Callable[..., Any]:
            location = _locate_function(function, self)
            name = function.__name__
            self.readings.append(ReadingClaim(name, method, settings, function, n, location))
            return function

        return declare_function

    def __repr__(self) -> str:
        return (
            f"<Hypothesis {self.name!r} of {self.task} in {self.model}: "
            f"{len(self.variables)} variables>"
        )

    # Last in the class, because from here on `property` is no longer Python's own.
    def property(
        self,
        kind: str,
        *,
        of: Any = (),
        allow: Number = 0.0,
        max_examples: int | None = None,
        exceptions: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        """Declare a property of the library with its settings: ``circuitgraph list properties``."""
        about = collect_names(of)
        name = " ".join([kind, *(["of " + "+".join(about)] if about else [])])
        self.properties.append(
            Property(
                name,
                kind,
                None,
                about,
                settings,
                allow,
                max_examples,
                tuple(exceptions),
                _locate_caller(),
            )
        )


def collect_names(variables: Any) -> tuple[str, ...]:
    """Names of variables given by name or as what the decorator returned, one or several."""
    if isinstance(variables, (str, Variable)):
        variables = (variables,)
    try:
        return tuple(item.name if isinstance(item, Variable) else str(item) for item in variables)
    except TypeError:
        raise TypeError(f"expected a variable or its name, or several, not {variables!r}") from None


def collect_sites(at: At | None) -> tuple[Site, ...]:
    """Sites given one by one, as a list, or as several heads at once."""
    if at is None or isinstance(at, Site):
        return () if at is None else (at,)
    sites: list[Site] = []
    for item in at:
        if isinstance(item, Sites):
            sites += item
        elif isinstance(item, Site):
            sites.append(item)
        else:
            raise TypeError(f"at= takes sites such as head(0, 3) @ 'B1', not {item!r}")
    return tuple(sites)


def _locate_function(function: Callable[..., Any], owner: Hypothesis) -> Location:
    code = getattr(function, "__code__", None)
    return owner.location if code is None else Location(code.co_filename, code.co_firstlineno)


def _locate_caller() -> Location:
    """The line of the hypothesis file that called the language."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_between(frame):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)


def _is_between(frame: FrameType) -> bool:
    """Whether a frame is one of the language, or of a type checker that wraps the language."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    # Projects may check types while they run (jaxtyping's import hook with beartype): their
    # wrappers stand between the file and the language.
    file = frame.f_code.co_filename
    is_wrapper = package in ("jaxtyping", "beartype") or file.startswith("<@beartype(")
    return file == __file__ or is_wrapper
