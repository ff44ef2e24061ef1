"""What installed packages add to the API and the dashboard, by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TypeVar

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError

T = TypeVar("T")


def created_by(group: str, kind: type[T]) -> list[T]:
    """Call the functions that the entry points of a group name; return their results by entry point.

    Raises:
        UsageError: an entry point cannot be loaded, or creates something else; the message names it.
    """
    created: list[T] = []
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        which = f"The entry point {point.name!r} ({point.value}) of the group {group!r}"
        try:
            made = point.load()()
        except Exception as error:  # a module and a function may raise anything
            raise UsageError(
                f"{which} cannot be loaded: {type(error).__name__}: {error}; install what is missing, or "
                "uninstall its package"
            ) from error
        if not isinstance(made, kind):
            raise UsageError(f"{which}: must name a function that returns {kind.__name__}, got {shown(made)}")
        created.append(made)
    return created
