"""The signature of a handler: which arguments it takes, and the types of its payload and its result.

Only these two annotations are evaluated, since a handler's module may import the type of the job's context
for the type checker only.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_origin

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NO_DEFAULT: Final = inspect.Parameter.empty

CONTEXT: Final = "JobContext"
"""The name of a context's type. It is not imported, since it needs tasks itself."""

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature(NamedTuple):
    """What a handler takes and returns.

    Attributes:
        takes_payload, takes_job: which arguments it takes.
        payload_type: the annotation of the payload; None for a handler without one.
        default: the payload's default, or ``NO_DEFAULT``.
        result_type: the annotation of the result; Any if there is none.
    """

    takes_payload: bool
    takes_job: bool
    payload_type: Any
    default: Any
    result_type: Any


def signature(name: str, handler: Callable[..., Any], local_names: Mapping[str, Any]) -> Signature:
    """Read the signature of a task's handler.

    Args:
        name: the task's name, for error messages.
        local_names: names that annotations may use besides those of the handler's module.

    Raises:
        UsageError: it is not a handler, takes other arguments, or the type of the payload or of the result
            can't be found.
    """
    if not callable(handler):
        raise UsageError(f"Task {name!r}: must be a function, got {shown(handler)}; decorate a function")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise UsageError(
            f"Task {name!r}: {shown(handler)} is a generator, whose values would be lost; return a value"
        )
    try:
        found = inspect.signature(handler)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Task {name!r}: the arguments of {shown(handler)} can't be determined; wrap it in a function of "
            "your own"
        ) from error
    parameters = list(found.parameters.values())
    takes_job = bool(parameters) and _is_job(parameters[-1])
    rest = parameters[:-1] if takes_job else parameters
    if len(rest) > 1 or any(p.kind not in _POSITIONAL for p in parameters):
        listed = ", ".join(str(p) for p in parameters)
        raise UsageError(
            f"Task {name!r}: a handler takes (payload), (payload, job: JobContext), (job: JobContext) or "
            f"nothing; this one takes ({listed})"
        )
    result_type = _evaluated(name, "result", found.return_annotation, handler, local_names)
    if not rest:
        return Signature(
            takes_payload=False,
            takes_job=takes_job,
            payload_type=None,
            default=NO_DEFAULT,
            result_type=result_type,
        )
    payload_type = _evaluated(name, "payload", rest[0].annotation, handler, local_names)
    return Signature(
        takes_payload=True,
        takes_job=takes_job,
        payload_type=payload_type,
        default=rest[0].default,
        result_type=result_type,
    )


def _evaluated(
    name: str, what: str, annotation: Any, handler: Callable[..., Any], local_names: Mapping[str, Any]
) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    while isinstance(annotation, str):  # more than once if it is also quoted
        plain = _function(handler)
        names = {**getattr(plain, "__globals__", {}), **local_names, **_closure(plain)}
        try:
            annotation = eval(annotation, names)  # noqa: S307 - the annotation is the application's own code
        except Exception as error:  # noqa: BLE001 - the application's own code may raise anything
            raise UsageError(
                f"Task {name!r}: the type of the {what}, {annotation!r}, can't be found: "
                f"{type(error).__name__}: {error}; import it at run time, not for the type checker only"
            ) from None
    return annotation


def _closure(function: Any) -> dict[str, Any]:
    """Return the variables that a function closes over; those that are assigned later are left out."""
    names: Sequence[str] = getattr(getattr(function, "__code__", None), "co_freevars", ())
    found: dict[str, Any] = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # the cell is empty
            found[name] = cell.cell_contents
    return found


def _function(handler: Any) -> Any:
    """Return the function behind a handler, whose module and closure have the names of its annotations."""
    while not inspect.isfunction(handler):
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif inspect.ismethod(handler):
            handler = handler.__func__
        else:
            handler = type(handler).__call__
    return inspect.unwrap(handler)


def _is_job(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return parameter.name == "job"
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == CONTEXT
    return getattr(get_origin(annotation) or annotation, "__name__", None) == CONTEXT
