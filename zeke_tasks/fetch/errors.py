"""The errors of fetching and parsing, named by how a job should react.

::

    WebError                  url, reason, status
     ├── Transient            try again, after ``retry_after`` seconds if the server said so
     └── Permanent            trying again gives the same result
          ├── UrlRefused      the URL is forbidden: scheme, credentials, port
          │    └── AddressRefused   it leads to an address that users' URLs must not reach
          ├── BodyRefused     the body is too large, or inflates out of proportion
          ├── FeedError       the body is not a feed
          └── PageError       the body is not a readable page
"""

from __future__ import annotations

from typing import Any

from zeke_queue.errors import ZekeError
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.fetch.text import without_controls


class WebError(ZekeError):
    """Fetching or parsing a URL failed; the text hides parameters that look secret.

    Attributes:
        url: the URL requested last, with all parameters; after a redirect, the one that failed.
        reason: the cause, without the URL.
        status: the HTTP status, or None if there was no answer.
    """

    def __init__(self, url: str, reason: str, *, status: int | None = None) -> None:
        # The text comes largely from the server, and is stored, logged and shown.
        self.url = without_controls(url)
        self.reason = without_controls(reason)
        self.status = status
        super().__init__(without_secrets(f"{self.url}: {self.reason}"))

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is unpickled with its base's arguments, which this constructor does not
        # accept.
        return _again, (type(self), self.args, self.__dict__)


class Transient(WebError):
    """A later attempt may succeed: no answer, a broken connection, an overloaded server.

    Attributes:
        retry_after: seconds to wait, as requested by the server, capped; None if it did not say.
    """

    def __init__(
        self, url: str, reason: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        self.retry_after = retry_after
        super().__init__(url, reason, status=status)


class Permanent(WebError):
    """Later attempts will fail too, unless the URL or the site changes."""


class UrlRefused(Permanent):
    """The URL is forbidden: not http(s), with credentials, with a forbidden port, or invalid."""


class AddressRefused(UrlRefused):
    """The URL leads to an address that users' URLs must not reach; nothing was sent there.

    Attributes:
        address: the address as text.
        why: the kind of address.
    """

    def __init__(self, url: str, address: str, reason: str) -> None:
        self.address = address
        self.why = reason
        super().__init__(url, f"leads to {address}, which is not fetched: {reason}")


class BodyRefused(Permanent):
    """The body exceeds its size cap or inflates out of proportion; reading stopped there."""


class TooExpensiveDocument(Permanent):
    """Reading the document takes too much processor time or memory; it should be tried rarely."""


class FeedError(Permanent):
    """The body is not a feed, or must not be parsed; ``reason`` says why."""


class PageError(Permanent):
    """The body is not a readable page; a page without text does not raise this."""


def _again(kind: type[WebError], args: tuple[Any, ...], fields: dict[str, Any]) -> WebError:
    """Unpickle an error."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
