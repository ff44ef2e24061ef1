"""The API's own procedures, with the same services, limits, authorization and error messages as the REST API.

Two of them send tasks of Zeke's catalog, which is in another package. They refer to the tasks by name, and
fail with a message if a deployment does not have them.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from zeke_queue.api_client.model import iso
from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import permitted
from zeke_queue.web.errors import to_api_error
from zeke_queue.web.ids import parse_id
from zeke_queue.web.request_bodies import RequestBody, Trigger
from zeke_queue.web.trpc.protocol import Code, Procedure, TrpcError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from zeke_queue.web.access.guard import Caller
    from zeke_queue.web.api import Api

M = TypeVar("M", bound=BaseModel)

INGEST_URL_TASK: Final = "ingest-oneoff"
RUN_PLAYBOOK_TASK: Final = "playbook-run"


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be the URL of a page, which begins with http:// or https://")
    return url


class Input(RequestBody):
    """The input of a procedure; unknown members are ignored, as in the earlier system."""

    model_config = ConfigDict(extra="ignore")


class WhichRun(Input):
    """A job: ``runId``, or ``id`` as in the result of ``trigger.trigger``."""

    run_id: Annotated[str, Field(validation_alias=AliasChoices("runId", "id"))]


class IngestUrl(Input):
    """A page to read."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_http_url)]
    priority: Literal["normal", "high"] = "normal"


class RunPlaybook(Input):
    """A playbook to run; its ``context`` becomes the metadata of the run."""

    playbook_id: UUID
    context: dict[str, Any] | None = None


class TrpcContext:
    """One HTTP request: its application and its caller, authenticated once for all calls of a batch.

    A refusal is cached too, so a batch with an invalid key causes only one lookup.

    Attributes:
        is_large: whether the inputs are so large that a thread reads them.
    """

    def __init__(self, api: Api, request: Request) -> None:
        self.api = api
        self.is_large = False
        self._request = request
        self._caller: Caller | None = None
        self._refusal: Exception | None = None

    async def caller(self, scope: Scope) -> Caller:
        """Return the caller if it has a scope.

        Raises:
            ApiError: 401 or 403, as for ``Guard.require``.
        """
        return permitted(await self._authenticated(), scope)

    async def is_authenticated(self) -> bool:
        """Return whether the caller is known; else ``caller`` raises the refusal."""
        try:
            await self._authenticated()
        except Exception:  # noqa: BLE001 - whatever it is, each call answers with it
            return False
        return True

    async def _authenticated(self) -> Caller:
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        if self._caller is None:
            try:
                self._caller = await self.api.guard.caller(self._request)
            except Exception as refusal:
                self._refusal = refusal
                raise
        return self._caller


async def trigger(context: TrpcContext, value: Any) -> dict[str, Any]:
    """``trigger.trigger {taskId, payload}``: send a job; answers as ``POST /trigger``."""
    caller = await context.caller(Scope.TRIGGER)
    request = read_input(Trigger, value)
    return await _send(context, caller, request.task_id, request.payload)


async def run(context: TrpcContext, value: Any) -> dict[str, Any]:
    """``trigger.run {runId}``: get a job; answers as ``GET /trigger/runs/{id}``, with Dates."""
    run_id = read_input(WhichRun, value).run_id
    missing = f"Job run {shown(run_id)} not found"
    job = await context.api.queue.get(parse_id(run_id, missing))
    if job is None:
        raise TrpcError(Code.NOT_FOUND, missing)
    return context.api.presenter.run(job).model_dump(by_alias=True)


async def ingest_url(context: TrpcContext, value: Any) -> dict[str, Any]:
    """``trigger.ingestUrl {url, priority}``: ingest a web page."""
    caller = await context.caller(Scope.TRIGGER)
    request = read_input(IngestUrl, value)
    _check_served(context, "trigger.ingestUrl", INGEST_URL_TASK)
    return await _send(context, caller, INGEST_URL_TASK, request.model_dump(by_alias=True))


async def run_playbook(context: TrpcContext, value: Any) -> dict[str, Any]:
    """``trigger.runPlaybook {playbookId, context?}``: run a playbook of the caller's team."""
    caller = await context.caller(Scope.TRIGGER)
    if caller.team_id is None:
        raise TrpcError(Code.FORBIDDEN, "Team context required")
    request = read_input(RunPlaybook, value)
    _check_served(context, "trigger.runPlaybook", RUN_PLAYBOOK_TASK)
    payload: dict[str, Any] = {
        "playbookId": str(request.playbook_id),
        "teamId": str(caller.team_id),
        "triggerSource": "api",
    }
    if request.context is not None:
        payload["metadata"] = request.context
    return await _send(context, caller, RUN_PLAYBOOK_TASK, payload)


PROCEDURES: Final[Mapping[str, Procedure[TrpcContext]]] = {
    "trigger.trigger": Procedure("mutation", trigger, Scope.TRIGGER),
    "trigger.run": Procedure("query", run, Scope.READ),
    "trigger.ingestUrl": Procedure("mutation", ingest_url, Scope.TRIGGER),
    "trigger.runPlaybook": Procedure("mutation", run_playbook, Scope.TRIGGER),
}


def to_trpc_error(error: Exception) -> TrpcError:
    """Convert an exception to a tRPC error with the REST API's message and tRPC's code for its status."""
    api_error = to_api_error(error)
    more = dict(api_error.more)
    message = api_error.message
    if api_error.status == Code.FORBIDDEN.status:  # clients show only the message
        message = str(more.get("description", message))
    return TrpcError(Code.of_status(api_error.status), message, data=more, headers=api_error.headers)


async def _send(context: TrpcContext, caller: Caller, task: str, payload: Any) -> dict[str, Any]:
    text = await asyncio.to_thread(_stringified, payload) if context.is_large else _stringified(payload)
    sent = await context.api.jobs.trigger(caller, task, text)
    return sent.triggered.model_dump(by_alias=True)


def _stringified(value: Any) -> Any:
    """Return a payload with its Dates as text in the stored format, that of ``JSON.stringify``."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, list):
        return [_stringified(member) for member in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _stringified(member) for key, member in cast("dict[Any, Any]", value).items()}
    return value


def _check_served(context: TrpcContext, path: str, task: str) -> None:
    if task not in context.api.queue.catalog.served:
        raise TrpcError(
            Code.NOT_IMPLEMENTED,
            f"{path} needs the task {task}, which this server's catalog does not have; serve one that has it",
        )


def read_input(model: type[M], value: Any) -> M:
    """Validate an input with a model.

    Raises:
        TrpcError: BAD_REQUEST, with the invalid fields.
    """
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    fields = [
        {"path": ".".join(map(str, detail["loc"])) or "input", "message": _reason(detail["msg"])}
        for detail in details
    ]
    listed = "; ".join(f"{field['path']}: {field['message']}" for field in fields)
    raise TrpcError(Code.BAD_REQUEST, f"Invalid input: {listed}", data={"fields": fields})


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
