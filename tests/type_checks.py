"""Every annotated shape and type of circuitgraph is checked on every call, by jaxtyping's import
hook with beartype, in a wrapper that costs less than jaxtyping's own.

jaxtyping's wrapper binds each call's arguments to the signature and checks them twice, to word its
error well: a quarter of the suite's time.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from types import FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

_jaxtyped = jaxtyping.jaxtyped
_SCOPE = _jaxtyped("context")  # within it, an axis has one size
_AS_JAXTYPING = BeartypeConf(violation_type=jaxtyping.TypeCheckError)
_CHECKED = "__types_are_checked__"


def install_checks(package: str) -> None:
    """Check what is called in a package, whose modules are imported after this.

    The hook looks up ``jaxtyping.jaxtyped`` when a module of the package runs. Axes that are named
    by arguments (``"{n}"``) need jaxtyping's own wrapper.
    """
    jaxtyping.jaxtyped = check_calls  # pyright: ignore[reportAttributeAccessIssue]
    jaxtyping.install_import_hook(package, "beartype.beartype")


def check_calls(checked: Any = None, *, typechecker: Any) -> Any:
    """A decorator of functions, and of dataclasses whose fields are checked when one is made."""
    if checked is None:
        return partial(check_calls, typechecker=typechecker)
    if not inspect.isclass(checked):
        return _check_function(checked)
    init = checked.__init__
    if not dataclasses.is_dataclass(checked) or hasattr(init, _CHECKED):
        return checked
    if hasattr(init, "__wrapped__"):  # equinox's, whose own parameters say nothing
        return _jaxtyped(checked, typechecker=typechecker)
    checked.__init__ = _check_function(init)
    return checked


def _check_function(function: FunctionType) -> Callable[..., Any]:
    """The function as it is called, with its types checked, and the sizes of axes if it has any."""
    hints = {name: _resolve(hint, function) for name, hint in function.__annotations__.items()}
    checked = beartype(conf=_AS_JAXTYPING)(_copy_with(function, hints))
    call = _scope_axes(checked, function) if any(map(_has_axes, hints.values())) else checked
    setattr(call, _CHECKED, True)
    return call


def _copy_with(function: FunctionType, annotations: dict[str, Any]) -> FunctionType:
    """The same function under other annotations."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    update_wrapper(copy, function)
    vars(copy).pop("__wrapped__")  # beartype would read the signature of what is wrapped
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = annotations
    return copy


def _resolve(hint: Any, function: FunctionType) -> Any:
    """What an annotation means; anything, if it names what is imported for type checkers only."""

    def holder() -> None: ...

    holder.__annotations__ = {"it": hint}
    try:
        return get_type_hints(holder, function.__globals__, include_extras=True)["it"]
    except Exception:
        return Any


def _has_axes(hint: Any) -> bool:
    """Whether there is a shape somewhere in an annotation."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_axes, get_args(hint)))


def _scope_axes(checked: Callable[..., Any], function: FunctionType) -> Callable[..., Any]:
    """The function, with one size for each axis during each call."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with _SCOPE:
            return checked(*args, **kwargs)

    return call
