"""Routes and procedures that other packages add to the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from zeke_queue.web.trpc.procedures import TrpcContext
from zeke_queue.web.trpc.protocol import Procedure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter

GROUP: Final = "zeke.api"
"""The group of entry points that provide additional routes to ``zeke api`` and ``zeke up``."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The routes and procedures of a package.

    Attributes:
        routers: its REST routes. Each depends on a caller (``Reads``, ``Triggers`` or ``Administers`` of
            ``zeke_queue.web.api``) and declares its error responses.
        procedures: its tRPC procedures, by path.
        needs: a task that they require; without it in the catalog, the extension is omitted.
    """

    routers: Sequence[APIRouter] = ()
    procedures: Mapping[str, Procedure[TrpcContext]] = field(
        default_factory=dict[str, Procedure[TrpcContext]]
    )
    needs: str | None = None


def installed_extensions() -> list[Extension]:
    """Return the extensions of installed packages: each entry point names a function that creates one."""
    return [point.load()() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
