"""Tasks: a handler with a name, the type of its payload, and the options of its jobs.

A payload is validated when it is sent, so that the sender gets the error. The worker validates again,
straight from the stored bytes, since older senders and other programs write rows too.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.core.names import queue_name
from zeke_queue.core.options import DEFAULTS, INT4_MAX, JobOptions, merge, new_job
from zeke_queue.core.redaction import check_rules
from zeke_queue.errors import (
    FieldError,
    InvalidOptionError,
    PayloadTooLargeError,
    PayloadValidationError,
    SerializationError,
    UsageError,
)
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Signal, Snooze

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Fail", "JobContext", "Kind", "Retry", "Signal", "Snooze", "Task"]

P = TypeVar("P")
R = TypeVar("R")

Kind = Literal["async", "thread", "process"]
"""Where a handler runs: on the worker's loop, in one of its threads, or in a process of its own."""

PAYLOAD_CAP: Final = 1_048_576
"""Bytes of a payload's JSON as Postgres writes it, by default, since rows of a queue should be small.

Larger data belongs elsewhere, with a reference in the payload.
"""

_NO_PAYLOAD: Final = (b"{}", b"null", b"")
_NO_DEFAULT: Final = inspect.Parameter.empty


class Task(Generic[P, R]):
    """A handler and the options of its jobs. Made by ``Catalog.task``; called like the handler itself.

    Attributes:
        name: the queue of its jobs.
        aliases: other names under which it is found and served.
        payload_type: the type that the payload is validated against; None for a task without payload.
        options: the task's own job options.
        concurrency_limit: how many of its jobs run at once over all workers; None for no limit.
        redact: parts of its jobs that the HTTP API and the dashboard never show (``core.redaction``).
        kind: where the handler runs.
        takes_payload, takes_job: which arguments the handler takes.
    """

    def __init__(
        self,
        handler: Callable[..., Any],
        name: str,
        *,
        aliases: Sequence[str] = (),
        options: JobOptions | None = None,
        concurrency_limit: int | None = None,
        description: str | None = None,
        process: bool = False,
        payload_cap: int = PAYLOAD_CAP,
        redact: Sequence[str] = (),
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        self.handler = handler
        self.name = queue_name(name)
        self.aliases = tuple(queue_name(alias) for alias in _sequence(aliases))
        self.options = options or JobOptions()
        self.concurrency_limit = concurrency_limit
        self.description = check_description(description) or _first_line(handler)
        self.payload_cap = payload_cap
        self.redact = check_rules(redact)
        if not isinstance(process, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise InvalidOptionError(f"process: {shown(process)} is neither True nor False; give one of them")
        self.kind: Kind = (
            "process" if process else "async" if inspect.iscoroutinefunction(handler) else "thread"
        )
        functools.update_wrapper(self, handler)
        self.takes_payload, self.takes_job, self.payload_type, self._default = _signature(
            self.name, handler, local_names or {}
        )
        self._check()
        self._empty = b"{}" if _is_object(self.payload_type) else b"null"
        self._adapter = self._build_adapter() if self.takes_payload else None
        if self._adapter is not None and self._default is not _NO_DEFAULT:
            self._check_default(self._adapter)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler directly."""
        return self.handler(*args, **kwargs)

    def validate(self, payload: Any = None) -> P:
        """Return the payload as the handler gets it.

        Args:
            payload: an instance of the payload's type, or input that validates as one, such as a dict by
                names or aliases. None stands for the handler's default, if it has one, else for an object of
                defaults only.

        Raises:
            PayloadValidationError: it is invalid; every invalid field is named.
        """
        if self._adapter is None:
            if payload is not None and payload != {}:
                self._refuse_payload()
            return typing.cast("P", None)
        if payload is None and self._default is not _NO_DEFAULT:
            return typing.cast("P", self._default)
        given: Any = {} if payload is None and self._empty == b"{}" else payload
        try:
            return self._adapter.validator.validate_python(given)
        except ValidationError as error:
            raise self._invalid(error) from None

    def validate_json(self, data: bytes | None) -> P:
        """Return the payload as the handler gets it, from stored JSON.

        Raises:
            PayloadValidationError: it is invalid; every invalid field is named.
        """
        if self._adapter is None:
            if data is not None and data.strip() not in _NO_PAYLOAD:
                self._refuse_payload()
            return typing.cast("P", None)
        if data is None or data == b"null":
            if self._default is not _NO_DEFAULT:
                return typing.cast("P", self._default)
            data = self._empty
        try:
            return self._adapter.validator.validate_json(data)
        except ValidationError as error:
            raise self._invalid(error) from None

    def dump(self, payload: Any = None) -> str | None:
        """Validate a payload and return it as JSON text, by the aliases of its fields, defaults filled in.

        Returns:
            The text; None for a task without payload.

        Raises:
            PayloadValidationError: it is invalid.
            SerializationError: it is valid, but Postgres can't store it as JSON.
            PayloadTooLargeError: as Postgres writes it, it exceeds the cap.
        """
        value = self.validate(payload)
        if self._adapter is None:
            return None
        text = self._written(value, self._adapter)
        if (size := jsonb.size_over(text, self.payload_cap)) is not None:
            raise PayloadTooLargeError(
                f"The payload of task {self.name!r} has {size} bytes of JSON as Postgres writes it, "
                f"{self.payload_cap} at most; store what is large elsewhere, and send a reference to it"
            )
        return text

    def _written(self, value: Any, adapter: TypeAdapter[Any]) -> str:
        try:
            plain = adapter.serializer.to_python(value, mode="json", by_alias=True)
        except Exception as error:  # a payload's own serialiser may raise anything
            raise self._not_json(jsonb.complaint(value, error)) from error
        try:
            text = jsonb.dumps(plain, digits=jsonb.INTEGER_DIGITS_READ)
            if jsonb.REPLACEMENT in text:
                jsonb.check_keys(value)
        except SerializationError as error:
            raise self._not_json(str(error)) from error
        return text

    def _not_json(self, why: str) -> SerializationError:
        return SerializationError(f"The payload of task {self.name!r} has no JSON form: {why}")

    def json_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the payload, by aliases; None for a task without payload."""
        return None if self._adapter is None else self._adapter.json_schema(by_alias=True)

    def _check(self) -> None:
        limit = self.concurrency_limit
        if limit is not None and (type(limit) is not int or not 1 <= limit <= INT4_MAX):
            raise InvalidOptionError(
                f"concurrency_limit: {shown(limit)} is out of range; give 1 to {INT4_MAX}, or None for no "
                "limit"
            )
        # Options out of range would otherwise fail only at the first send, so make a job now.
        new_job(_NOBODY, self.name, None, merge(self.options, DEFAULTS))
        if self.kind == "process" and not _has_path(self.handler):
            raise UsageError(
                f"Task {self.name!r}: a handler that runs in a process is looked up by its module and name, "
                f"which {shown(self.handler)} has not; write a function with def at the top level of a module"
            )

    def _build_adapter(self) -> TypeAdapter[Any]:
        try:
            try:
                # By default pydantic turns NaN into null where the type does not mention numbers.
                return TypeAdapter(self.payload_type, config=ConfigDict(ser_json_inf_nan="constants"))
            except PydanticUserError as error:
                if error.code != "type-adapter-config-unused":
                    raise
                return TypeAdapter(self.payload_type)  # a model's own settings apply
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
            raise UsageError(
                f"Task {self.name!r}: pydantic can't validate a payload of type {self.payload_type!r}: "
                f"{error}"
            ) from error

    def _check_default(self, adapter: TypeAdapter[Any]) -> None:
        try:
            adapter.validator.validate_python(self._default)
        except ValidationError as error:
            why = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
            raise UsageError(
                f"Task {self.name!r}: the payload's default, {shown(self._default)}, does not fit its type: "
                f"{why}"
            ) from None

    def _invalid(self, error: ValidationError) -> PayloadValidationError:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return PayloadValidationError(
            self.name, [FieldError(".".join(map(str, d["loc"])) or "payload", d["msg"]) for d in details]
        )

    def _refuse_payload(self) -> typing.NoReturn:
        raise PayloadValidationError(self.name, [FieldError("payload", "This task takes no payload")])


_NOBODY: Final = UUID(int=0)


def check_description(given: object) -> str | None:
    """Return the description of a task or a schedule.

    Raises:
        InvalidOptionError: it is not text that Postgres can store.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        raise InvalidOptionError(
            f"description: {shown(given)} is no text; give a line for people, or leave it out"
        )
    if not jsonb.is_kept(given):
        raise InvalidOptionError(
            f"description: {shown(given)} has a NUL character or half of a surrogate pair, which Postgres "
            "can't keep; give text without"
        )
    return given


def _sequence(aliases: object) -> Sequence[str]:
    """Return aliases as a tuple; refuse a single string, whose characters would each become an alias."""
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidOptionError(
            f"aliases: {shown(aliases)} is no sequence of names; give one, such as ['old-name']"
        )
    return typing.cast("Sequence[str]", tuple(typing.cast("Iterable[Any]", aliases)))


def _has_path(handler: object) -> bool:
    """Return whether module and qualified name lead back to the handler; bound methods are excluded."""
    if inspect.ismethod(handler) and not inspect.isclass(handler.__self__):
        return False
    return inspect.isroutine(handler) and "<" not in getattr(handler, "__qualname__", "<")


def _first_line(handler: Callable[..., Any]) -> str | None:
    said = inspect.getdoc(handler)
    return said.strip().partition("\n")[0] if said and not isinstance(handler, functools.partial) else None


def _is_object(payload_type: object) -> bool:
    """Return whether an absent payload may stand for an empty object."""
    if inspect.isclass(payload_type) and issubclass(payload_type, BaseModel):
        return not issubclass(payload_type, RootModel)
    # The mark of a TypedDict, from `typing` or `typing_extensions`.
    return dataclasses.is_dataclass(payload_type) or hasattr(payload_type, "__required_keys__")


def _signature(
    name: str, handler: Callable[..., Any], local_names: Mapping[str, Any]
) -> tuple[bool, bool, Any, Any]:
    """Return whether the handler takes a payload and a job, and the payload's type and default.

    Only the payload's annotation is evaluated, since the handler's module may import the other type for the
    type checker only.
    """
    if not callable(handler):
        raise UsageError(f"Task {name!r}: {shown(handler)} is no handler; decorate a function")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise UsageError(
            f"Task {name!r}: {shown(handler)} is a generator, which nobody would go through; return a value"
        )
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Task {name!r}: the arguments of {shown(handler)} can't be told; wrap it in a function of "
            "your own"
        ) from error
    takes_job = bool(parameters) and _is_job(parameters[-1])
    rest = parameters[:-1] if takes_job else parameters
    if len(rest) > 1 or any(p.kind not in _POSITIONAL for p in parameters):
        listed = ", ".join(str(p) for p in parameters)
        raise UsageError(
            f"Task {name!r}: a handler takes (payload), (payload, job: JobContext), (job: JobContext) or "
            f"nothing; this one takes ({listed})"
        )
    if not rest:
        return False, takes_job, None, _NO_DEFAULT
    annotation, default = rest[0].annotation, rest[0].default
    if annotation is inspect.Parameter.empty:
        return True, takes_job, Any, default
    while isinstance(annotation, str):  # more than once if it is also quoted
        plain = inspect.unwrap(handler)
        names = {
            **getattr(plain, "__globals__", {}),
            **local_names,
            **inspect.getclosurevars(plain).nonlocals,
        }
        try:
            annotation = eval(annotation, names)  # noqa: S307 - the annotation is the application's own code
        except NameError as error:
            raise UsageError(
                f"Task {name!r}: the type of the payload, {annotation!r}, can't be found: {error}; "
                "import it at run time, not for the type checker only"
            ) from None
    return True, takes_job, annotation, default


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_job(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return parameter.name == "job"
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == JobContext.__name__
    return annotation is JobContext
