"""Tasks: a handler with a name, the type of its payload, and the options of its jobs.

A payload is validated when it is sent, so that the sender gets the error. The worker validates again,
straight from the stored bytes, since older senders and other programs write rows too.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, ParamSpec, TypeVar, Unpack, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.core.names import queue_name
from zeke_queue.core.options import DEFAULTS, INT4_MAX, OPTIONS_OF_A_TASK, OptionLayer, layer, merge, new_job
from zeke_queue.core.redaction import check_rules
from zeke_queue.errors import (
    FieldError,
    InvalidOptionError,
    PayloadValidationError,
    SerializationError,
    UsageError,
)
from zeke_queue.task.signature import NO_DEFAULT, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from zeke_queue.core.options import JobOptions, SendOptions, TaskOptions

P = TypeVar("P")
R = TypeVar("R")
C = ParamSpec("C")
T_co = TypeVar("T_co", covariant=True)

Kind = Literal["async", "thread", "process"]
"""Where a handler runs: on the worker's loop, in one of its threads, or in its own process."""

PAYLOAD_CAP: Final = 1_048_576
"""Bytes of a payload's JSON as Postgres writes it, by default, since rows of a queue should be small.

Larger data belongs elsewhere, with a reference in the payload.
"""

FIELDS_MAX: Final = 100
"""Invalid fields of a payload that an error names."""

ERRORS_READ_MAX: Final = 10_000
"""Maximum errors of a payload that are read; of more, which take seconds, only the number is reported."""

_NO_PAYLOAD: Final = (b"{}", b"null", b"")


class Task(Generic[P, R]):
    """A task: its name, the types of its payload P and result R, and the options of its jobs.

    ``Catalog.task`` makes it of a handler. Where R is not JSON, such as a model, outputs are validated as R
    when they are read. Fields that the type of the payload does not have are refused in sends; if one of its
    models sets ``extra`` to "allow" or "ignore", the models' settings apply. Stored payloads may have such
    fields. A result's model must accept what it serializes: a serialization alias that is not also one for
    validation makes ``read_output`` fail.

    Attributes:
        name: its name.
        queue: the queue of the jobs that are sent here: ``name``, unless the catalog is private.
        aliases: other names under which it is found and served.
        payload_type: the type that the payload is validated against; None for a task without payload.
        layer: the task's own job options and those of its catalog.
        key: returns the singleton key of a payload; None if the key is constant, or there is none.
        concurrency_limit: how many of its jobs run concurrently over all workers; None for no limit.
        redact: parts of its jobs that the HTTP API and the dashboard never show (``core.redaction``).
        team_field: the field of the payload that holds a team; None if its jobs are of no team.
        kind: where the handler runs.
        takes_payload, takes_job: which arguments the handler takes.
    """

    def __init__(
        self,
        handler: Callable[..., Any],
        name: str,
        *,
        aliases: Sequence[str] = (),
        options: TaskOptions | None = None,
        defaults: OptionLayer | None = None,
        concurrency_limit: int | None = None,
        description: str | None = None,
        process: bool = False,
        payload_cap: int = PAYLOAD_CAP,
        redact: Sequence[str] = (),
        team_field: str | None = None,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        self.handler = handler
        self.name = self.queue = queue_name(name)
        self.aliases = tuple(queue_name(alias, "aliases") for alias in _sequence(aliases))
        own = dict(options or {})
        value = own.get("singleton_key")
        self.key = cast("Callable[[Any], str | None] | None", value if callable(value) else None)
        if self.key is not None:
            del own["singleton_key"]
        self.layer = merge(layer(own, OPTIONS_OF_A_TASK), defaults or OptionLayer())
        self.concurrency_limit = concurrency_limit
        self.description = check_description(description) or _first_line(handler)
        self.payload_cap = payload_cap
        self.redact = check_rules(redact)
        self.team_field = team_field
        if not isinstance(process, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise InvalidOptionError(f"process: must be True or False, got {shown(process)}")
        self.kind: Kind = (
            "process" if process else "async" if inspect.iscoroutinefunction(handler) else "thread"
        )
        # Without the handler's attributes, which would replace this task's own.
        functools.update_wrapper(cast("Any", self), handler, updated=())
        self.takes_payload, self.takes_job, self.payload_type, self._default, self.result_type = signature(
            self.name, handler, local_names or {}
        )
        self._check()
        self._empty = b"{}" if _is_object(self.payload_type) else b"null"
        self._adapter = self._build_adapter(self.payload_type) if self.takes_payload else None
        # A setting for the whole validation overrides the models' own, of which only "forbid" is the same.
        self._closed = self._adapter is not None and _extras(self._adapter.core_schema) <= {"forbid"}
        self._result_adapter = self._build_result_adapter()
        self._lenient = self._result_adapter is not None and "allow" not in _extras(
            self._result_adapter.core_schema
        )
        if self._adapter is not None and self._default is not NO_DEFAULT:
            self._check_default(self._adapter)
        if team_field is not None:
            self._check_team_field(team_field)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues whose jobs it runs: its own and those of its aliases, or its private one."""
        return (self.name, *self.aliases) if self.queue == self.name else (self.queue,)

    @property
    def options(self) -> JobOptions:
        """The options of jobs that are sent without their own; a key that is computed is not among them."""
        return cast("JobOptions", self.layer.given())

    def job(self, payload: P, **options: Unpack[SendOptions]) -> Send:
        """Return a job of this task for ``send_many``; the arguments are those of ``Queue.send``."""
        return Send(self, payload, **options)

    def validate(self, payload: object = None, *, strict: bool = True) -> P:
        """Return the payload as the handler gets it.

        Args:
            payload: an instance of the payload's type, or input that validates as one, such as a dict by
                names or aliases. None stands for the handler's default, if it has one, else for an object of
                defaults only.
            strict: whether fields that the type does not have are refused; else they are dropped.

        Raises:
            PayloadValidationError: it is invalid; the first ``FIELDS_MAX`` invalid fields are named.
        """
        if self._adapter is None:
            if payload is not None and payload != {}:
                self._refuse_payload()
            return cast("P", None)
        if payload is None and self._default is not NO_DEFAULT:
            return cast("P", self._default)
        value: Any = {} if payload is None and self._empty == b"{}" else payload
        try:
            extra = "forbid" if strict and self._closed else None
            return self._adapter.validator.validate_python(value, extra=extra)
        except ValidationError as error:
            raise self._invalid(error) from None

    def validate_json(self, data: bytes | None) -> P:
        """Return the payload as the handler gets it, from stored JSON.

        Raises:
            PayloadValidationError: it is invalid; the first ``FIELDS_MAX`` invalid fields are named.
        """
        if self._adapter is None:
            if data is not None and data.strip() not in _NO_PAYLOAD:
                self._refuse_payload()
            return cast("P", None)
        if data is None or data == b"null":
            if self._default is not NO_DEFAULT:
                return cast("P", self._default)
            data = self._empty
        try:
            return self._adapter.validator.validate_json(data)
        except ValidationError as error:
            raise self._invalid(error) from None

    def dump(self, payload: Any = None, *, strict: bool = True) -> str | None:
        """Validate a payload and return it as JSON text, by the aliases of its fields, defaults filled in.

        Returns:
            The text; None for a task without payload.

        Raises:
            PayloadValidationError: it is invalid.
            SerializationError: it is valid, but Postgres can't store it as JSON.
            PayloadTooLargeError: as Postgres writes it, it exceeds the cap.
        """
        return self.encode(self.validate(payload, strict=strict))

    def encode(self, value: P) -> str | None:
        """Return a validated payload as JSON text; see ``dump``."""
        if self._adapter is None:
            return None
        text = self._written(value, self._adapter)
        return jsonb.check_size(text, self.payload_cap, f"The payload of task {self.name!r}")

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

    def read_output(self, output: Any) -> R:
        """Return a stored output as the type of the handler's result.

        An output is returned as plain JSON where the handler's annotation is missing, None, or a type that
        pydantic does not know.

        Args:
            output: the decoded output of a completed job.

        Raises:
            SerializationError: it does not fit the type, such as the output of an older version of the task.
        """
        adapter = self._result_adapter
        if adapter is None:
            return cast("R", output)
        try:
            # Computed fields are in the output, and must not be refused.
            return adapter.validate_json(jsonb.dumps(output), extra="ignore" if self._lenient else None)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "output"
            raise SerializationError(
                f"{where}: the output of task {self.name!r} does not fit its result type "
                f"{self.result_type!r}: {first['msg']}; read it as stored from the job's output"
            ) from None

    def _build_result_adapter(self) -> TypeAdapter[Any] | None:
        if self.result_type in (Any, None, type(None)):
            return None
        try:
            adapter = TypeAdapter(self.result_type)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError):
            return None
        self._check_complete("result", self.result_type, adapter)
        return adapter

    def _check_complete(self, what: str, annotation: Any, adapter: TypeAdapter[Any]) -> None:
        """Check that pydantic found all names in a type.

        Raises:
            UsageError: it did not, such as those of the quoted parts of an unquoted annotation.
        """
        if not adapter.pydantic_complete:
            raise UsageError(
                f"Task {self.name!r}: the type of the {what}, {annotation!r}, names a type that can't be "
                "found; import or define it before the task, and quote the whole annotation or none of it"
            )

    def json_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the payload, by aliases; None for a task without payload."""
        return None if self._adapter is None else self._adapter.json_schema(by_alias=True)

    def _check(self) -> None:
        limit = self.concurrency_limit
        if limit is not None and (type(limit) is not int or not 1 <= limit <= INT4_MAX):
            raise InvalidOptionError(
                f"concurrency_limit: must be 1 to {INT4_MAX}, or None for no limit, got {shown(limit)}"
            )
        # Options out of range would otherwise fail only at the first send, so make a job now.
        new_job(_NOBODY, self.name, None, merge(self.layer, DEFAULTS))
        if self.kind == "process" and not _has_path(self.handler):
            raise UsageError(
                f"Task {self.name!r}: a handler that runs in a process is looked up by its module and name, "
                f"which {shown(self.handler)} lacks; define it with def at the top level of a module"
            )

    def _build_adapter(self, payload_type: Any) -> TypeAdapter[Any]:
        try:
            try:
                # By default pydantic turns NaN into null where the type does not mention numbers.
                adapter = TypeAdapter[Any](payload_type, config=ConfigDict(ser_json_inf_nan="constants"))
            except PydanticUserError as error:
                if error.code != "type-adapter-config-unused":
                    raise
                adapter = TypeAdapter[Any](payload_type)  # a model's own settings apply
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError) as error:
            raise UsageError(
                f"Task {self.name!r}: pydantic can't validate a payload of type {payload_type!r}: {error}"
            ) from error
        self._check_complete("payload", payload_type, adapter)
        return adapter

    def _check_default(self, adapter: TypeAdapter[Any]) -> None:
        try:
            adapter.validator.validate_python(self._default)
        except ValidationError as error:
            why = error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]
            raise UsageError(
                f"Task {self.name!r}: the payload's default, {shown(self._default)}, does not fit its type: "
                f"{why}"
            ) from None

    def _check_team_field(self, field: str) -> None:
        schema = self.json_schema() or {}
        # A recursive model is a reference to its definition.
        definition = schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
        if field not in definition.get("properties", {}):
            raise InvalidOptionError(
                f"team_field: must be a field of the payload of task {self.name!r} as it is stored, got"
                f" {shown(field)}; pass its alias if it has one"
            )

    def _invalid(self, error: ValidationError) -> PayloadValidationError:
        count = error.error_count()
        if count > ERRORS_READ_MAX:
            why = f"has {count} invalid parts, too many to list; validate it with {self.payload_type!r}"
            return PayloadValidationError(self.name, [FieldError("payload", why)])
        details = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [
            FieldError(".".join(map(str, d["loc"])) or "payload", d["msg"]) for d in details[:FIELDS_MAX]
        ]
        if count > FIELDS_MAX:
            fields.append(FieldError("payload", f"{count - FIELDS_MAX} more parts are invalid"))
        return PayloadValidationError(self.name, fields)

    def _refuse_payload(self) -> NoReturn:
        raise PayloadValidationError(self.name, [FieldError("payload", "This task takes no payload")])


class HandlerTask(Task[P, R], Generic[P, R, C, T_co]):
    """A task that can still be called like its handler; made by the decorator ``Catalog.task``."""

    def __call__(self, *args: C.args, **kwargs: C.kwargs) -> T_co:
        """Call the handler directly."""
        return self.handler(*args, **kwargs)


class Send:
    """One job of ``Queue.send_many``: the arguments of ``Queue.send``. ``Task.job`` makes one with types.

    Args:
        task: a task of the catalog, or its name or alias.
        payload: a payload that is valid for the task's model.
        **options: see ``SendOptions``.
    """

    __slots__ = ("options", "payload", "task")

    def __init__(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> None:
        self.task = task
        self.payload = payload
        self.options = options

    def __repr__(self) -> str:
        return f"<Send {self.task!r}>"


_NOBODY: Final = UUID(int=0)


def _extras(schema: Any) -> set[str]:
    """Return the settings for unknown fields of the models in a core schema."""
    found: set[str] = set()
    if isinstance(schema, list | tuple):
        return found.union(*map(_extras, cast("Sequence[Any]", schema)))
    if not isinstance(schema, dict):
        return found
    for name, part in cast("Mapping[str, Any]", schema).items():
        if name in ("extra_behavior", "extra_fields_behavior"):
            found.add(part)
        elif name != "metadata":
            found |= _extras(part)
    return found


def check_description(value: object) -> str | None:
    """Return the description of a task or a schedule.

    Raises:
        InvalidOptionError: it is not text that Postgres can store.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidOptionError(
            f"description: must be a string, got {shown(value)}; pass a line for readers, or leave it out"
        )
    if not jsonb.is_kept(value):
        raise InvalidOptionError(
            f"description: must not contain a NUL character or half of a surrogate pair, got {shown(value)}"
        )
    return value


def _sequence(aliases: object) -> Sequence[str]:
    """Return aliases as a tuple; refuse a single string, whose characters would each become an alias."""
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidOptionError(
            f"aliases: must be a sequence of names, got {shown(aliases)}; pass one such as ['old-name']"
        )
    return cast("Sequence[str]", tuple(cast("Iterable[Any]", aliases)))


def _has_path(handler: object) -> bool:
    """Return whether module and qualified name lead back to the handler; bound methods are excluded."""
    if inspect.ismethod(handler) and not inspect.isclass(handler.__self__):
        return False
    return inspect.isroutine(handler) and "<" not in getattr(handler, "__qualname__", "<")


def _first_line(handler: Callable[..., Any]) -> str | None:
    said = inspect.getdoc(handler)
    return said.strip().partition("\n")[0] if said and not isinstance(handler, functools.partial) else None


def _is_object(payload_type: object) -> bool:
    """Return whether an absent payload may be read as an empty object."""
    if inspect.isclass(payload_type) and issubclass(payload_type, BaseModel):
        return not issubclass(payload_type, RootModel)
    # The mark of a TypedDict, from `typing` or `typing_extensions`.
    return dataclasses.is_dataclass(payload_type) or hasattr(payload_type, "__required_keys__")
