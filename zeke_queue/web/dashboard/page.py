"""Additional pages of the dashboard, which applications provide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import InvalidOptionError
from zeke_queue.storage.access import Scope
from zeke_queue.web.entry_points import created_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from starlette.responses import Response

    from zeke_queue.web.dashboard.page_request import PageRequest

GROUP: Final = "zeke.pages"
"""The group of entry points that provide additional pages to ``zeke api`` and ``zeke up``."""

OWN: Final = frozenset(
    {"jobs", "queues", "schedules", "workers", "trigger", "sign-in", "sign-out", "static", "live"}
)
_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class View:
    """A part of a page with its own path.

    Attributes:
        path: the path below the page's, such as ``/`` or ``/stories/{story_id}``.
        handle: handles a request after its caller is authorized.
        changes: whether the method is POST, for changes; otherwise GET.
    """

    path: str
    handle: Callable[[PageRequest], Awaitable[Response]]
    changes: bool = False
    scope: Scope = Scope.READ


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the dashboard.

    Attributes:
        slug: its path segment and the folder of its templates: lower-case letters, digits and ``-``.
        title: its name in the navigation.
        views: its views; one must have the path ``/``.
        templates: a folder whose subfolder ``slug`` contains its templates.
        key: the letter that opens it after ``g``, if any.
        needs: a task that the page requires; without it in the catalog, the page is omitted.
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
                f"slug: must be lower-case letters, digits and '-', got {self.slug!r}; and none of"
                f" {', '.join(sorted(OWN))}"
            )


def installed_pages() -> list[Page]:
    """Return the pages of installed packages: each entry point names a function that creates one.

    Raises:
        UsageError: see ``created_by``.
    """
    return created_by(GROUP, Page)
