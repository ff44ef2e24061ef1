"""The errors of fetching and reading, named by what the job that meets one should do.

::

    WebError                  url, reason, status
     ├── Transient            try again, after ``retry_after`` seconds if the server said so
     └── Permanent            trying again gives the same answer
          ├── UrlRefused      the URL is none that we fetch: scheme, credentials, port
          │    └── AddressRefused   it leads to an address that no URL of a user's may reach
          ├── BodyRefused     the body is too large, or inflates out of proportion
          ├── FeedError       the body is no feed
          └── PageError       the body is no page that can be read
"""

from __future__ import annotations

from typing import Any

from zeke_queue.errors import ZekeError
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.fetch.text import without_controls


class WebError(ZekeError):
    """Something about a URL or what it answered; its text shows no parameter of it that looks secret.

    Attributes:
        url: the URL that was asked last, whole; after a redirect, the one that failed.
        reason: what was wrong, without the URL.
        status: the HTTP status, or None if there was no answer.
    """

    def __init__(self, url: str, reason: str, *, status: int | None = None) -> None:
        # Much of it is the server's, and it is kept, logged and shown.
        self.url = without_controls(url)
        self.reason = without_controls(reason)
        self.status = status
        super().__init__(without_secrets(f"{self.url}: {self.reason}"))

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by the arguments of its base, which its own constructor does not take.
        return _again, (type(self), self.args, self.__dict__)


class Transient(WebError):
    """It may work later: no answer, a broken connection, an overloaded server.

    Attributes:
        retry_after: seconds that the server asked us to wait, capped; None if it did not say.
    """

    def __init__(
        self, url: str, reason: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        self.retry_after = retry_after
        super().__init__(url, reason, status=status)


class Permanent(WebError):
    """It will not work later either, unless somebody changes the URL or the site."""


class UrlRefused(Permanent):
    """The URL is none that is fetched: not http(s), with credentials, a forbidden port, or no URL at all."""


class AddressRefused(UrlRefused):
    """The URL leads to an address that no URL of a user's may reach; nothing was sent there.

    Attributes:
        address: the address as text.
        why: what kind of address it is.
    """

    def __init__(self, url: str, address: str, reason: str) -> None:
        self.address = address
        self.why = reason
        super().__init__(url, f"leads to {address}, which is not fetched: {reason}")


class BodyRefused(Permanent):
    """The body is over its size cap, or inflates out of proportion; reading stopped there."""


class FeedError(Permanent):
    """The body is no feed, or one that must not be parsed; ``reason`` says what was wrong with it."""


class PageError(Permanent):
    """The body is no page that can be read; a page without text is none of these."""


def _again(kind: type[WebError], args: tuple[Any, ...], fields: dict[str, Any]) -> WebError:
    """Make an error that was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
