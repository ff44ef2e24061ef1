"""Who calls, and what they may: API keys, sessions of the dashboard, a host application's own way, loopback.

Until the first key is stored only loopback is served, without a key, and as what a browser or a proxy on this
machine would send on somebody else's behalf is refused. After that every caller shows who it is.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, Protocol
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailableError, ZekeError
from zeke_queue.storage.access import IMPLIED, Scope
from zeke_queue.system.logging import get_logger
from zeke_queue.web.errors import RETRY_AFTER, ApiError

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.requests import HTTPConnection

    from zeke_queue.storage.access import ApiKey
    from zeke_queue.storage.store import Access
    from zeke_queue.system.clock import Clock
    from zeke_queue.web.settings import WebSettings

COOKIE: Final = "zeke_session"
CSRF_HEADER: Final = "x-csrf-token"
MAKE_KEY: Final = "zeke keys create NAME"
"""What makes a key on the database of the environment."""

_FORWARDED: Final = re.compile(r"forwarded|x-forwarded-.*|x-real-ip|via|.*-(client|connecting)-ip")
"""Headers by which proxies tell of whom they speak for."""

_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)
CALLER: Final = "zeke.caller"
"""Where a request's scope has its caller, once that was told."""

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PATIENCE: Final = 10.0
"""Seconds that a host application's own way may take to tell who calls."""

_NOTE_EVERY: Final = 60.0
_KEY_ID: Final = "key:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        id: what limits are counted by, 1 to 200 characters; the same in every process.
        name: for people and the log.
        scopes: what they hold; each implies others.
        team_id: on whose behalf they call, for tasks that need a team.
        via: how they showed who they are. All but ``key``, which is for what a browser does not send by
            itself, are protected against requests forged by other sites.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    team_id: UUID | None = None
    via: Literal["key", "session", "loopback", "host"] = "host"

    def may(self, scope: Scope) -> bool:
        """Return whether this caller holds a scope."""
        return permits(self.scopes, scope)


def permits(held: frozenset[Scope], scope: Scope) -> bool:
    """Return whether scopes, with all that they imply, have one among them."""
    return any(scope in IMPLIED[one] for one in held)


class Authenticator(Protocol):
    """A host application's own way to tell who calls."""

    async def __call__(self, connection: HTTPConnection) -> Caller | None:
        """Return the caller; None if the request shows nothing that this knows, so that keys are tried.

        Raises:
            ApiError: it shows something wrong. Starlette's ``HTTPException`` counts as one; whatever else it
                raises is answered with 503, and so is one who is not told within ``PATIENCE`` seconds.
        """
        ...


class Guard:
    """Tells who calls, and refuses who may not.

    Args:
        access: where keys and sessions are kept.
        clock: paces how often the use of a key is noted.
        settings: which cookies and origins are in use.
        authenticator: a host application's own way; with one, loopback alone is not enough.
        make_key: what people are told to type to make a key.
    """

    def __init__(
        self,
        access: Access,
        clock: Clock,
        settings: WebSettings,
        authenticator: Authenticator | None = None,
        *,
        make_key: str = MAKE_KEY,
    ) -> None:
        self.make_key = make_key
        self._access = access
        self._clock = clock
        self._settings = settings
        self._authenticator = authenticator
        self._keys_exist = False
        self._noted: dict[UUID, float] = {}
        self._warned = False

    async def require(self, connection: HTTPConnection, scope: Scope, *, csrf: str | None = None) -> Caller:
        """Return the caller of a request.

        Args:
            connection: the request.
            scope: what the caller has to hold.
            csrf: the token that a form of a session carries; without one the header ``X-CSRF-Token`` counts.

        Raises:
            ApiError: 401 if it does not show who it is, 403 if it may not, or if another site forged it.
        """
        return permitted(await self.caller(connection, csrf=csrf), scope)

    async def caller(self, connection: HTTPConnection, *, csrf: str | None = None) -> Caller:
        """Return the caller of a request, whatever it may; arguments as ``require``.

        Raises:
            ApiError: 401, 403: as ``require``.
        """
        known: Caller | None = connection.scope.get(CALLER)
        if known is not None:
            return known
        hosted = await self._hosted(connection)
        caller = hosted or await self._told(connection)
        if connection.scope.get("method", "GET") not in SAFE:
            if caller.via != "key":
                check_origin(connection, self._settings.api_cors_origins)
            if hosted is None and caller.via == "session":
                check_csrf(connection, csrf or connection.headers.get(CSRF_HEADER))
        return caller

    def still(self, connection: HTTPConnection, caller: Caller, scope: Scope) -> Standing:
        """Return what says, whenever it is asked, whether a caller may still do what it began to do.

        Args:
            connection: the request with which it began.
            caller: who made it.
            scope: what it needs.
        """
        shown: tuple[object, ...] = ()
        if caller.via != "loopback":
            # By what a host application knows somebody, only it can say: any header may be it.
            is_ours = caller.via in ("key", "session") and caller.id.startswith(_KEY_ID)
            token = connection.cookies.get(COOKIE)
            by = {"key": connection.headers.get("authorization"), "session": token}
            shown = (by[caller.via],) if is_ours else tuple(connection.headers.raw)
        return Standing(self, connection, scope, (caller.id, caller.via, *shown))

    async def _hosted(self, connection: HTTPConnection) -> Caller | None:
        """Return whom the host application knows; None if it knows nobody, or has no way of its own.

        Raises:
            ApiError: it refuses; 503 if it breaks, or says nothing for too long.
            ZekeError: what it needs of ours fails.
        """
        if self._authenticator is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._authenticator(connection)
        except (ApiError, ZekeError):
            raise
        except HTTPException as refused:  # what a host application's own routes raise
            raise ApiError(
                refused.status_code, _said(refused.detail, refused.status_code), headers=refused.headers
            ) from None
        except Exception as error:  # noqa: BLE001 - a host application's way may raise anything
            why = f"{type(error).__name__}: {error}"
            get_logger().error("authenticator_failed", error=why, patience=PATIENCE, exc_info=error)
            raise ApiError(
                503, "Who calls can't be told now; try again in a while", headers={"retry-after": RETRY_AFTER}
            ) from None

    async def _told(self, connection: HTTPConnection) -> Caller:
        header = connection.headers.get("authorization")
        token = connection.cookies.get(COOKIE)
        if header is None and token is not None:
            key = await self._access.session(apikeys.digest_of(token))
            if key is not None:
                return self._of_key(key, "session")
        if self._authenticator is None and not await self.keys_exist():
            return self._on_loopback(connection)
        return await self.by_header(header)

    async def keys_exist(self) -> bool:
        """Return whether a key was ever stored; from then on every caller has to show one."""
        if not self._keys_exist:
            self._keys_exist = await self._access.has_keys()
        if not self._keys_exist and not self._warned:
            self._warned = True
            get_logger().warning("no_api_keys", consequence="only loopback is served", hint=self.make_key)
        return self._keys_exist

    async def by_header(self, header: str | None) -> Caller:
        """Return the caller that an Authorization header names.

        Raises:
            ApiError: 401, and which of five things is wrong.
        """
        if header is None:
            raise _unauthorized("Authorization header required")
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("Invalid authorization scheme")
        key = await self.key(token.strip())
        return self._of_key(key, "key")

    async def key(self, token: str) -> ApiKey:
        """Return the key of a text.

        Raises:
            ApiError: 401 if there is none that is good.
        """
        if not token:
            raise _unauthorized("Token required")
        if not apikeys.is_well_formed(token):
            raise _unauthorized("Invalid token format")
        digest = apikeys.digest_of(token)
        found = None
        for key in await self._access.good_keys(apikeys.prefix_of(token)):
            if apikeys.same(key.digest, digest):
                found = key
        if found is None:
            raise _unauthorized("Invalid API key")
        await self._note(found.id)
        return found

    async def _note(self, key_id: UUID) -> None:
        now = self._clock.monotonic()
        if now - self._noted.get(key_id, -_NOTE_EVERY) >= _NOTE_EVERY:
            self._noted[key_id] = now
            await self._access.use_key(key_id)

    def _of_key(self, key: ApiKey, via: Literal["key", "session"]) -> Caller:
        return Caller(f"{_KEY_ID}{key.id}", key.name, key.scopes, key.team_id, via)

    def _on_loopback(self, connection: HTTPConnection) -> Caller:
        """Return the caller on this machine, while there is no key.

        Raises:
            ApiError: 403 if it is not on this machine, or may speak for somebody who is not.
        """
        host = _HOST.fullmatch(connection.headers.get("host", ""))
        # Many a proxy tells nothing of itself, and speaks the older HTTP.
        proxied = connection.scope.get("http_version") == "1.0" or any(
            _FORWARDED.fullmatch(name) for name in connection.headers
        )
        if not _is_loopback(connection) or host is None or proxied:
            raise ApiError(
                403,
                "Forbidden",
                description="No API key exists yet, so only this machine is served, under a name such as"
                f" localhost and without a proxy; create a key first: {self.make_key}",
            )
        return Caller("loopback", "this machine", frozenset(Scope), None, "loopback")


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether somebody may still do something; equal for those who showed the same and do the same.

    Attributes:
        shown: who it was, and by what it showed that.
    """

    _guard: Guard = field(compare=False, repr=False)
    _connection: HTTPConnection = field(compare=False, repr=False)
    _scope: Scope
    shown: tuple[object, ...] = field(repr=False)

    async def __call__(self) -> bool:
        """Look; while the storage is away, nothing is known against anybody."""
        try:
            await self._guard.require(self._connection, self._scope)
        except ApiError:
            return False
        except StorageUnavailableError:
            return True
        return True


def permitted(caller: Caller, scope: Scope) -> Caller:
    """Return a caller who holds a scope.

    Raises:
        ApiError: 403: it does not.
    """
    if not caller.may(scope):
        raise ApiError(
            403, "Forbidden", description=f"This needs the scope {scope.value}, which {caller.name} lacks"
        )
    return caller


def check_origin(connection: HTTPConnection, allowed: tuple[str, ...] = ()) -> None:
    """Refuse a changing request that a page of another site had a browser send.

    Raises:
        ApiError: 403.
    """
    origin = connection.headers.get("origin")
    site = connection.headers.get("sec-fetch-site")
    if origin is None:
        forged = site not in (None, "same-origin", "none")
    else:
        same = urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
        forged = not same and origin.lower() not in allowed
    if forged:
        raise ApiError(
            403,
            "Forbidden",
            description="The request came from a page of another site, which may not do that",
        )


def csrf_token(session: str) -> str:
    """Return the token that a changing request of a session carries; it follows from the session's own."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest()


def check_csrf(connection: HTTPConnection, given: str | None) -> None:
    """Refuse a changing request that carries a session's cookie, but not the token that its pages carry.

    Raises:
        ApiError: 403.
    """
    session = connection.cookies.get(COOKIE)
    if not session or given is None or not hmac.compare_digest(csrf_token(session).encode(), given.encode()):
        raise ApiError(
            403,
            "Forbidden",
            description="The page is out of date; open it again and repeat what you did",
        )


def _said(detail: object, status: int) -> str:
    """Return what a host application says of a refusal; frameworks let it say anything, not text alone."""
    return detail if isinstance(detail, str) else HTTPStatus(status).phrase


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, headers={"www-authenticate": "Bearer"})


def _is_loopback(connection: HTTPConnection) -> bool:
    """Return whether the peer is on this machine.

    One at a Unix socket may be a proxy, and one of which nothing is known may have hung up already.
    """
    try:
        return connection.client is not None and ipaddress.ip_address(connection.client.host).is_loopback
    except ValueError:
        return False
