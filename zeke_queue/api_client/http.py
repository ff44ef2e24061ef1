"""Requests: who makes them, what comes back, and which of them are made again after a lost connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from zeke_queue.api_client.errors import AWAY, ServerAway, refusal, retry_after, unreadable
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
    """Return the seconds to wait after failures in a row: doubled with each, and no two clients alike.

    Args:
        failures: from 1.
        jitter: from 0 to 1, drawn anew for each.
        first: the longest first pause.
        asked: what the server asked for, which is waited at least, up to ``MOST_PAUSE``.
    """
    longest = min(MOST_PAUSE, first * 2 ** min(failures - 1, _DOUBLINGS))
    return max(longest * (0.5 + jitter / 2), min(asked or 0.0, MOST_PAUSE))


class Http:
    """Makes requests of one server with one key.

    Args:
        base_url: where the API is, with the path under which it is mounted.
        token: an API key; None for a server that has none yet.
        timeout: seconds that a server may be silent within a request.
        transport: for tests, or for ways of connecting that httpx2 does not know by itself.
        clock: what pauses go by.
        entropy: what pauses vary by.
        retries: how often a request is made again.

    Raises:
        InvalidOptionError: the URL is none, or the token can't be one.
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
            # A stream keeps its connection, and there may be any number of them.
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
        """Make a request, and return its answer as a value.

        Args:
            kind: what the answer is.
            method: GET, POST, PUT or DELETE.
            path: below the base URL.
            about: the job that it changes.
            repeat: whether it may be made twice; a GET may, unless said otherwise.
            **request: as of httpx2.

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
        """Make a request, again if it may be and the server is away; return an answer that is no error.

        Args:
            method: as of ``ask``.
            path: as of ``ask``.
            task: the one that it triggers.
            about: as of ``ask``.
            repeat: as of ``ask``. One that was not sent at all is made again in any case.
            **request: as of httpx2.

        Raises:
            ZekeError: see ``zeke_queue.api_client.errors``.
        """
        repeat = method == "GET" if repeat is None else repeat
        for failures in range(1, self.retries + 2):
            asked = None
            try:
                response = await self.client.request(method, path, **request)
            except httpx2.TransportError as error:
                again, away = repeat or isinstance(error, _NOT_SENT), self.away(error)
            except (TypeError, ValueError) as error:
                raise SerializationError(f"payload: it can't be written as JSON ({error})") from error
            else:
                if response.is_success:
                    return response
                if response.status_code not in AWAY:
                    raise refusal(response, task=task, about=about)
                again, away = repeat, self.away(response)
                asked = retry_after(response)
            if not again or failures > self.retries:
                raise away
            await self.pause(failures, asked=asked)
        raise AssertionError("the last round returns or raises")

    async def pause(self, failures: int, *, first: float = FIRST_PAUSE, asked: float | None = None) -> None:
        """Wait before something is tried again; arguments as of ``pause_after``."""
        await self.clock.sleep(pause_after(failures, self._jitter.random(), first=first, asked=asked))

    def away(self, why: httpx2.TransportError | httpx2.Response) -> ServerAway:
        """Return the error for a server that gives no answer, or none that is its own."""
        if isinstance(why, httpx2.Response):
            said = str(refusal(why))
            return ServerAway(f"The server at {self.client.base_url} can't serve now: {said}")
        said = str(why) or type(why).__name__
        error = ServerAway(f"The server at {self.client.base_url} can't be reached: {said}")
        error.__cause__ = why
        return error


def answer(kind: type[A], response: httpx2.Response, **more: Any) -> A:
    """Return an answer as a value.

    Raises:
        ApiRefused: it is none of the kind.
    """
    try:
        body: object = response.json()
        return kind.model_validate({**body, **more} if more and isinstance(body, dict) else body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise unreadable(response, f"{where}: {first['msg']}") from None
    except ValueError:
        raise unreadable(response, "It is no JSON") from None


def _url(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise InvalidOptionError(
            f"base_url: it is no URL ({error}); give one such as http://localhost:3003"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidOptionError(
            "base_url: give scheme and host, as http://localhost:3003, and the path, if there is one"
        )
    if url.userinfo or url.query or url.fragment:
        raise InvalidOptionError("base_url: leave out user, query and fragment; a key is given as token")
    return url


def _authorization(token: str | None) -> Mapping[str, str]:
    if token is None:
        return {}
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidOptionError(
            "token: give the text of one API key, mid_ and 64 digits, as zeke keys create printed it"
        )
    return {"authorization": f"Bearer {token}"}
