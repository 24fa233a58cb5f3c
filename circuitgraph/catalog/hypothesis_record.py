"""The stored form of a hypothesis, as data. Functions are text; no text is ever executed."""

from __future__ import annotations

import ast
import json
import keyword
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ValidationError,
    model_serializer,
    model_validator,
)

from circuitgraph.catalog.records import Record, describe_fields
from circuitgraph.errors import CircuitGraphError, DataError, list_problems
from circuitgraph.foreign import parse_json
from circuitgraph.graph.site import Site

HYPOTHESIS_SCHEMA = 1


def _check_identifier(text: str) -> str:
    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError(f"{text!r} cannot be the name of a function")
    return text


def _normalise_site(text: str) -> str:
    try:
        return str(Site.parse(text))
    except CircuitGraphError as error:
        raise ValueError(str(error)) from error


def _trim_function(text: str) -> str:
    """The text of one function, a def or a lambda, without comments before or after."""
    function = parse_function(text)
    if isinstance(function, ast.Lambda):
        return text.strip()
    return "\n".join(text.split("\n")[function.lineno - 1 : function.end_lineno]).rstrip()


def parse_function(text: str) -> ast.FunctionDef | ast.Lambda:
    """The syntax of a function's text.

    Raises:
        ValueError: it is anything but one def without decorators, or one lambda.
    """
    try:
        body = (
            ast.parse(text).body
            if text.lstrip().startswith("def")
            else [ast.parse(f"({text})", mode="eval").body]
        )
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is not the text of a function: {error}") from error
    if len(body) == 1:
        function = body[0]
        if isinstance(function, ast.Lambda):
            return function
        if isinstance(function, ast.FunctionDef) and not function.decorator_list:
            return function
    raise ValueError(f"{text!r} is not the text of one function, without decorators")


Name = Annotated[str, AfterValidator(_check_identifier)]
SiteName = Annotated[str, AfterValidator(_normalise_site)]
Function = Annotated[str, AfterValidator(_trim_function)]


class VariableRecord(Record):
    """A variable; sites are names such as ``a0.h3@B1``, ``source`` is its function's text."""

    name: Name
    parents: list[Name]
    sites: list[SiteName] = Field(default_factory=list)
    routes: dict[str, list[Name]] = Field(default_factory=dict)
    through: dict[Name, SiteName] = Field(default_factory=dict)
    role: str = ""
    together: bool = False
    source: Function

    @model_validator(mode="after")
    def _check_agreement(self) -> VariableRecord:
        function = parse_function(self.source)
        if not isinstance(function, ast.FunctionDef) or function.name != self.name:
            raise ValueError(f"the text of variable {self.name!r} is not def {self.name}(...)")
        named = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg != "p"]
        if named != self.parents:
            raise ValueError(
                f"variable {self.name!r} has the parents {self.parents}, but its function {named}"
            )
        if unknown := set(self.routes) - set("qkv"):
            raise ValueError(
                f"variable {self.name!r} has routes into {sorted(unknown)}; expected q, k or v"
            )
        return self


class ExpectationRecord(Record):
    """An expected number; fields as of `Expectation`."""

    quantity: str
    at_least: float | None = None
    at_most: float | None = None
    of: list[str] = Field(default_factory=list)
    site: SiteName | None = None
    to: str | None = None
    n: int | None = None
    rivals_below: float | None = None


class RivalRecord(Record):
    """A rival: variables dropped, with other functions, or at other sites."""

    name: str
    drop: list[str] = Field(default_factory=list)
    replace: dict[Name, Function] = Field(default_factory=dict)
    move: dict[str, list[SiteName]] = Field(default_factory=dict)


class PropertyRecord(Record):
    """A property; ``source`` is the text of its function, None for those of the library."""

    name: str
    kind: str
    source: Function | None = None
    of: list[str] = Field(default_factory=list)
    settings: dict[Name, JsonValue] = Field(default_factory=dict)
    allow: float = 0.0
    max_examples: int | None = None
    exceptions: list[str] = Field(default_factory=list)


class HypothesisRecord(Record):
    """The whole of a stored hypothesis.

    ``dictionaries`` are the names of those beside the model, left out where there are none.
    ``where`` is the text of the function that selects prompts. ``support`` is the text of whatever
    else the functions need of the file, such as imports, constants and helpers. ``output`` is the
    name of the output variable.
    """

    schema_version: int = HYPOTHESIS_SCHEMA
    name: str
    task: str
    settings: dict[Name, JsonValue] = Field(default_factory=dict)
    model: str
    dictionaries: list[str] = Field(default_factory=list)
    metric: str | None = None
    unclaimed: str = "joint"
    align: str = "role"
    where: Function | None = None
    support: str = ""
    variables: list[VariableRecord] = Field(description="in the order of the file")
    output: Name
    expectations: list[ExpectationRecord] = Field(default_factory=list)
    rivals: list[RivalRecord] = Field(default_factory=list)
    properties: list[PropertyRecord] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_agreement(self) -> HypothesisRecord:
        try:
            ast.parse(self.support)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"the support is not Python: {error}") from error
        if [v.name for v in self.variables].count(self.output) != 1:
            raise ValueError(f"the output {self.output!r} is not the name of one variable")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_no_dictionaries(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = write(self)
        if not self.dictionaries:
            del content["dictionaries"]
        return content

    def to_json(self) -> str:
        """JSON with sorted keys, made to be read and compared in git."""
        return (
            json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False)
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str) -> HypothesisRecord:
        """The record of a text.

        Raises:
            DataError: not JSON, of a newer schema, or not as the schema says.
        """
        try:
            content = parse_json(text)
        except ValueError as error:
            raise DataError(f"A stored hypothesis cannot be read as JSON: {error}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > HYPOTHESIS_SCHEMA:
            raise DataError(
                f"A stored hypothesis has schema version {version}; this circuitgraph reads up to "
                f"{HYPOTHESIS_SCHEMA}: update it."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            title = "This is not the record of a hypothesis:"
            raise DataError(list_problems(title, describe_fields(error))) from error
