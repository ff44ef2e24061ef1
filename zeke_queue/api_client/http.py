"""Requests: sending, reading answers, and repeating after a lost connection where that is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from zeke_queue.api_client.errors import ServerUnavailableError, is_away, refusal, retry_after, unreadable
from zeke_queue.errors import InvalidOptionError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy

A = TypeVar("A", bound=BaseModel)

FIRST_PAUSE: Final = 0.5
MOST_PAUSE: Final = 30.0
_DOUBLINGS: Final = 10
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def pause_after(failures: int, jitter: float, *, first: float, asked: float | None = None) -> float:
    """Return the seconds to wait after failures in a row, doubled with each, with jitter between clients.

    Args:
        failures: the number of failures, from 1.
        jitter: from 0 to 1, drawn for each pause.
        first: the longest first pause.
        asked: the pause that the server asked for, which is the least one, up to ``MOST_PAUSE``.
    """
    longest = min(MOST_PAUSE, first * 2 ** min(failures - 1, _DOUBLINGS))
    return max(longest * (0.5 + jitter / 2), min(asked or 0.0, MOST_PAUSE))


class Http:
    """Sends requests to one server with one key.

    Args:
        base_url: the API's URL, with the path under which it is mounted.
        token: an API key; None for a server without keys.
        timeout: seconds that a server may be silent within a request.
        transport: for tests, or for connections that httpx2 does not support.
        retries: how often a request is repeated.

    Raises:
        InvalidOptionError: the URL or the token is invalid.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        *,
        timeout: float,
        transport: httpx2.AsyncBaseTransport | None,
        clock: Clock,
        entropy: Entropy,
        retries: int,
    ) -> None:
        self.clock = clock
        self._jitter = entropy.stream("client")
        self.retries = retries
        self.client = httpx2.AsyncClient(
            base_url=_url(base_url),
            headers={"accept": "application/json", **_authorization(token)},
            timeout=timeout,
            transport=transport,
            # A stream keeps its connection, and their number is not limited.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def ask(
        self,
        kind: type[A],
        method: str,
        path: str,
        *,
        about: UUID | None = None,
        repeat: bool | None = None,
        **request: Any,
    ) -> A:
        """Send a request, and return its answer as a value.

        Args:
            kind: the type of the answer.
            method: GET, POST, PUT or DELETE.
            path: below the base URL.
            about: the job that the request changes.
            repeat: whether the request may be repeated; by default only a GET may.
            **request: arguments of httpx2.

        Raises:
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        response = await self.send(method, path, about=about, repeat=repeat, **request)
        return answer(kind, response)

    async def send(
        self,
        method: str,
        path: str,
        *,
        task: str | None = None,
        about: UUID | None = None,
        repeat: bool | None = None,
        **request: Any,
    ) -> httpx2.Response:
        """Send a request, repeat it if allowed, and return an answer without error.

        Args:
            method, path, about, **request: as for ``ask``.
            task: the task that the request triggers.
            repeat: as for ``ask``. A request that was not sent at all is always repeated.

        Raises:
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        repeat = method == "GET" if repeat is None else repeat
        for failures in range(1, self.retries + 2):
            asked = None
            try:
                response = await self.client.request(method, path, **request)
            except httpx2.TransportError as error:
                may_retry, away = repeat or isinstance(error, _NOT_SENT), self.away(error)
            except (TypeError, ValueError) as error:
                raise SerializationError(f"payload: must have a JSON form ({error})") from error
            else:
                if response.is_success:
                    return response
                if not is_away(response):
                    raise refusal(response, task=task, about=about)
                may_retry, away = repeat, self.away(response)
                asked = retry_after(response)
            if not may_retry or failures > self.retries:
                raise away
            await self.pause(failures, asked=asked)
        raise AssertionError("the last round returns or raises")

    async def pause(self, failures: int, *, first: float = FIRST_PAUSE, asked: float | None = None) -> None:
        """Wait before a retry; arguments as for ``pause_after``."""
        await self.clock.sleep(pause_after(failures, self._jitter.random(), first=first, asked=asked))

    def away(self, why: httpx2.TransportError | httpx2.Response) -> ServerUnavailableError:
        """Return the error for a server without an answer of its own."""
        if isinstance(why, httpx2.Response):
            said = str(refusal(why))
            return ServerUnavailableError(f"The server at {self.client.base_url} is unavailable: {said}")
        said = str(why) or type(why).__name__
        error = ServerUnavailableError(f"The server at {self.client.base_url} can't be reached: {said}")
        error.__cause__ = why
        return error


def answer(kind: type[A], response: httpx2.Response, **more: Any) -> A:
    """Return an answer as a value.

    Raises:
        ApiResponseError: it does not have this type.
    """
    try:
        body: object = response.json()
        return kind.model_validate({**body, **more} if more and isinstance(body, dict) else body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise unreadable(response, f"{where}: {first['msg']}") from None
    except ValueError:
        raise unreadable(response, "It is not JSON") from None


def _url(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise InvalidOptionError(
            f"base_url: must be a URL ({error}); pass one such as http://localhost:3003"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidOptionError(
            "base_url: must have a scheme and a host; pass one such as http://localhost:3003"
        )
    if url.userinfo or url.query or url.fragment:
        raise InvalidOptionError("base_url: must not have a user, query or fragment; pass a key as token")
    return url


def _authorization(token: str | None) -> Mapping[str, str]:
    if token is None:
        return {}
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidOptionError(
            "token: must be an API key, mid_ and 64 digits, as `zeke keys create` printed it"
        )
    return {"authorization": f"Bearer {token}"}
