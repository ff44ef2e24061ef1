"""Authentication: API keys, sessions of the dashboard, and a host application's own method.

Every caller must authenticate, even on the server's machine, where other users may run processes.
"""

from __future__ import annotations

import asyncio
import hmac
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from starlette.exceptions import HTTPException

from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailableError, ZekeError
from zeke_queue.storage.access import IMPLIED, Scope
from zeke_queue.system.logging import get_logger
from zeke_queue.web.errors import RETRY_AFTER, ApiError

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.requests import HTTPConnection

    from zeke_queue.storage.access import Access, ApiKey
    from zeke_queue.system.clock import Clock
    from zeke_queue.web.settings import WebSettings

COOKIE: Final = "zeke_session"
CSRF_HEADER: Final = "x-csrf-token"
MAKE_KEY: Final = "zeke keys create NAME"
"""The command to create a key in the database of the environment."""

CALLER: Final = "zeke.caller"
"""The member of an ASGI scope that contains the authenticated caller."""

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ANSWER_SECONDS: Final = 10.0
"""Maximum seconds for a host application's authenticator."""

_RECORD_INTERVAL: Final = 60.0
_KEY_ID: Final = "key:"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        id: the identity for limits, 1 to 200 characters; the same in every process.
        name: the name for users and the log.
        scopes: the caller's scopes; each implies others.
        team_id: the caller's team, for tasks that need one.
        via: the method of authentication. All methods except ``key``, which browsers do not send by
            themselves, are protected against cross-site request forgery.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    team_id: UUID | None = None
    via: Literal["key", "session", "host"] = "host"

    def has_scope(self, scope: Scope) -> bool:
        """Return whether this caller holds a scope."""
        return permits(self.scopes, scope)


def permits(held: frozenset[Scope], scope: Scope) -> bool:
    """Return whether a set of scopes contains or implies a scope."""
    return any(scope in IMPLIED[one] for one in held)


class Authenticator(Protocol):
    """A host application's own authentication."""

    async def __call__(self, connection: HTTPConnection) -> Caller | None:
        """Return the caller; None if the request has no credentials of this kind, so that keys are tried.

        Raises:
            ApiError: the credentials are invalid. Starlette's ``HTTPException`` is treated likewise; any
                other exception, or no result within ``ANSWER_SECONDS`` seconds, is answered with 503.
        """
        ...


class Guard:
    """Authenticates callers and checks their scopes.

    Args:
        access: the storage of keys and sessions.
        clock: limits how often the use of a key is recorded.
        settings: the settings of cookies and origins.
        authenticator: a host application's own authentication, tried before keys.
        make_key: the command to create a key, shown to users.
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
        self._recorded: dict[UUID, float] = {}

    async def require(self, connection: HTTPConnection, scope: Scope) -> Caller:
        """Authenticate the caller of a request and check its scope.

        Raises:
            ApiError: 401 if the caller is not authenticated; 403 if it lacks the scope, or if another site
                forged the request.
        """
        return permitted(await self.caller(connection), scope)

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Authenticate the caller of a request without checking a scope.

        Raises:
            ApiError: 401 or 403, as for ``require``.
        """
        known: Caller | None = connection.scope.get(CALLER)
        if known is not None:
            return known
        caller, needs_token = await self.identify(connection)
        if needs_token:
            check_csrf(connection, connection.headers.get(CSRF_HEADER))
        return caller

    async def identify(self, connection: HTTPConnection) -> tuple[Caller, bool]:
        """Authenticate the caller of a request by its headers, before a body is read.

        Returns:
            The caller, and whether the request needs a CSRF token, which may be in the body.

        Raises:
            ApiError: 401 or 403, as for ``require``.
        """
        hosted = await self._hosted(connection)
        caller = hosted or await self._authenticated(connection)
        if connection.scope.get("method", "GET") in SAFE:
            return caller, False
        if caller.via != "key":
            check_origin(connection, self._settings.api_cors_origins)
        return caller, hosted is None and caller.via == "session"

    def authorization_check(
        self, connection: HTTPConnection, caller: Caller, scope: Scope
    ) -> AuthorizationCheck:
        """Return a check of whether a caller is still authorized, for long requests."""
        # A host application may authenticate by any header, so all headers are part of the identity.
        is_ours = caller.via in ("key", "session") and caller.id.startswith(_KEY_ID)
        token = connection.cookies.get(COOKIE)
        by = {"key": connection.headers.get("authorization"), "session": token}
        shown: tuple[object, ...] = (by[caller.via],) if is_ours else tuple(connection.headers.raw)
        return AuthorizationCheck(self, connection, scope, (caller.id, caller.via, *shown))

    async def _hosted(self, connection: HTTPConnection) -> Caller | None:
        """Authenticate by the host application; return None if it has no authenticator or finds no caller.

        Raises:
            ApiError: it refuses the caller; 503 if it fails or times out.
            ZekeError: a call of this package inside the authenticator fails.
        """
        if self._authenticator is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._authenticator(connection)
        except (ApiError, ZekeError):
            raise
        except HTTPException as refused:  # raised as in the host application's routes
            detail = cast("object", refused.detail)  # frameworks allow any type
            # The status may be none of the standard's.
            message = detail if isinstance(detail, str) else responses.get(refused.status_code, "Refused")
            raise ApiError(refused.status_code, message, headers=refused.headers) from None
        except Exception as error:  # noqa: BLE001 - an authenticator may raise anything
            why = f"{type(error).__name__}: {error}"
            get_logger().error("authenticator_failed", error=why, timeout=ANSWER_SECONDS, exc_info=error)
            raise ApiError(
                503,
                "Authentication is temporarily unavailable; retry later",
                headers={"retry-after": RETRY_AFTER},
            ) from None

    async def _authenticated(self, connection: HTTPConnection) -> Caller:
        header = connection.headers.get("authorization")
        token = connection.cookies.get(COOKIE)
        if header is None and token is not None:
            key = await self._access.get_session(apikeys.digest_of(token))
            if key is not None:
                return self._of_key(key, "session")
        return await self.by_header(header)

    async def by_header(self, header: str | None) -> Caller:
        """Authenticate by an Authorization header.

        Raises:
            ApiError: 401, with one of five reasons.
        """
        if header is None:
            raise _unauthorized("Authorization header required")
        scheme, _, token = header.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("Invalid authorization scheme")
        key = await self.key(token.strip())
        return self._of_key(key, "key")

    async def key(self, token: str) -> ApiKey:
        """Return the key with a token.

        Raises:
            ApiError: 401 if there is no valid key with this token.
        """
        if not token:
            raise _unauthorized("Token required")
        if not apikeys.is_well_formed(token):
            raise _unauthorized("Invalid token format")
        digest = apikeys.digest_of(token)
        found = None
        for key in await self._access.valid_keys(apikeys.prefix_of(token)):
            if apikeys.same(key.digest, digest):
                found = key
        if found is None:
            raise _unauthorized("Invalid API key")
        await self._record_use(found.id)
        return found

    async def _record_use(self, key_id: UUID) -> None:
        now = self._clock.monotonic()
        if now - self._recorded.get(key_id, -_RECORD_INTERVAL) >= _RECORD_INTERVAL:
            self._recorded[key_id] = now
            await self._access.touch_key(key_id)

    def _of_key(self, key: ApiKey, via: Literal["key", "session"]) -> Caller:
        return Caller(f"{_KEY_ID}{key.id}", key.name, key.scopes, key.team_id, via)


@dataclass(frozen=True, slots=True)
class AuthorizationCheck:
    """A check of whether a caller is still authorized; equal for equal credentials and scopes.

    Attributes:
        shown: the caller and its credentials.
    """

    _guard: Guard = field(compare=False, repr=False)
    _connection: HTTPConnection = field(compare=False, repr=False)
    _scope: Scope
    shown: tuple[object, ...] = field(repr=False)
    _context: Context = field(compare=False, repr=False, default_factory=copy_context)

    async def __call__(self) -> bool:
        """Return whether the caller is still authorized; True while the storage is unavailable."""
        required = self._guard.require(self._connection, self._scope)
        try:
            # The application's authenticator may read variables that its middleware set for the request.
            await asyncio.create_task(required, context=self._context.copy())
        except ApiError:
            return False
        except StorageUnavailableError:
            return True
        return True


def permitted(caller: Caller, scope: Scope) -> Caller:
    """Return the caller if it has a scope.

    Raises:
        ApiError: 403 if it does not.
    """
    if not caller.has_scope(scope):
        raise _forbidden(f"This needs the scope {scope.value}, which {caller.name} does not have")
    return caller


def check_origin(connection: HTTPConnection, allowed: tuple[str, ...] = ()) -> None:
    """Refuse an unsafe request that a browser sent for a page of another site.

    Raises:
        ApiError: 403.
    """
    origin = connection.headers.get("origin")
    site = connection.headers.get("sec-fetch-site")
    if origin is None:
        forged = site not in (None, "same-origin", "none")
    else:
        same = origin.lower().partition("://")[2] == connection.headers.get("host", "").lower()
        forged = not same and origin.lower() not in allowed
    if forged:
        raise _forbidden("Requests of pages of another site are not allowed")


def csrf_token(session: str) -> str:
    """Derive the CSRF token of a session's unsafe requests from the session's token."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest()


def check_csrf(connection: HTTPConnection, given: str | None) -> None:
    """Refuse an unsafe request with a session's cookie but without its CSRF token.

    Raises:
        ApiError: 403.
    """
    session = connection.cookies.get(COOKIE)
    if not session or given is None or not hmac.compare_digest(csrf_token(session).encode(), given.encode()):
        raise _forbidden("The page has expired; reload it and try again")


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, headers={"www-authenticate": "Bearer"})


def _forbidden(why: str) -> ApiError:
    return ApiError(403, "Forbidden", description=why)
