"""What a further page of the dashboard is: an application adds pages beside the ones that are there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import InvalidOptionError
from zeke_queue.storage.access import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from starlette.responses import Response

    from zeke_queue.web.dashboard.page_request import Desk

GROUP: Final = "zeke.pages"
"""Entry points of this group give further pages to ``zeke api`` and ``zeke up``."""

OWN: Final = frozenset(
    {"jobs", "queues", "schedules", "workers", "trigger", "sign-in", "sign-out", "static", "live"}
)
_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class View:
    """A part of a page that has an address.

    Attributes:
        path: below the page's own, such as ``/`` or ``/stories/{story_id}``.
        handle: answers a request; what it may do is checked before.
        changes: whether it is a POST, which changes something; else it is a GET.
        scope: what the caller has to hold.
    """

    path: str
    handle: Callable[[Desk], Awaitable[Response]]
    changes: bool = False
    scope: Scope = Scope.READ


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the dashboard.

    Attributes:
        slug: its place in addresses, and the folder of its templates: lower-case letters, digits and ``-``.
        title: its name in the navigation.
        views: what it consists of; one has the path ``/``.
        templates: a folder in which the folder ``slug`` has its templates.
        key: the letter that opens it after ``g``, if it has one.
        needs: a task without which it has nothing to show; it is left out where the catalog does not know it.
    """

    slug: str
    title: str
    views: Sequence[View]
    templates: Path | None = None
    key: str | None = None
    needs: str | None = None

    def __post_init__(self) -> None:
        if _SLUG.fullmatch(self.slug) is None or self.slug in OWN:
            raise InvalidOptionError(
                f"slug: {self.slug!r} can't be a page's; give lower-case letters, digits and '-', and none of"
                f" {', '.join(sorted(OWN))}"
            )


def installed_pages() -> list[Page]:
    """Return the pages that installed packages bring: each entry point names a function that makes one."""
    return [point.load()() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
