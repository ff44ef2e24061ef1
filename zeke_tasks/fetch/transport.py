"""The transport of the HTTP client: through the guard, without proxies, with our own errors.

The guard is a network backend, which `httpx2.AsyncHTTPTransport` does not accept.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any, cast

import httpcore2
import httpx2

from zeke_tasks.fetch.errors import AddressRefused, Permanent, Transient, UrlRefused
from zeke_tasks.fetch.guard import GuardedBackend


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests over pooled HTTP/1.1 connections, all of them opened by a `GuardedBackend`.

    Args:
        backend: opens the connections.
        ssl_context: the trusted authorities; the system's and the library's by default.
    """

    def __init__(self, backend: GuardedBackend, ssl_context: ssl.SSLContext | None = None) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            # An environment variable must not change the trusted authorities or set a proxy, so trust_env is
            # off.
            ssl_context=ssl_context or httpx2.create_ssl_context(trust_env=False),
            network_backend=backend,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            AddressRefused, UrlRefused: rejected by the guard; nothing was sent.
            Transient: no answer, or a broken one.
            Permanent: the certificate is not valid.
        """
        url = str(request.url)
        with _our_errors(url):
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(cast("_ClosableStream", response.stream), url),
            extensions=cast(
                "dict[str, Any]",
                response.extensions,  # pyright: ignore[reportUnknownMemberType] - a bare dict in the library
            ),
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _ClosableStream(httpx2.AsyncByteStream):
    """A body of the pool: bytes to iterate over, and ``aclose`` to release the connection."""


class _Body(httpx2.AsyncByteStream):
    """A response's unread body."""

    def __init__(self, stream: _ClosableStream, url: str) -> None:
        self._stream = stream
        self._url = url

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _our_errors(self._url):
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        with _our_errors(self._url):
            await self._stream.aclose()


@contextmanager
def _our_errors(url: str) -> Generator[None]:
    """Translate network errors to Transient and Permanent."""
    try:
        yield
    except AddressRefused as error:
        raise AddressRefused(url, error.address, error.why) from None
    except UrlRefused as error:
        raise UrlRefused(url, error.reason) from None
    except httpcore2.TimeoutException as error:
        raise Transient(url, "the server does not answer in time") from error
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError, ssl.SSLError) as error:
        # The pool drops the cause but has the original error as its argument.
        if any(isinstance(part, ssl.SSLCertVerificationError) for part in error.args):
            raise Permanent(url, f"its certificate is not valid: {error}") from error
        raise Transient(url, f"the connection failed: {error}") from error
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise Permanent(url, f"it can't be requested: {error}") from error
