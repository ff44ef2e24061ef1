"""Routes and procedures that other packages add to the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from zeke_queue.errors import UsageError
from zeke_queue.web.api import READS
from zeke_queue.web.entry_points import created_by
from zeke_queue.web.trpc.procedures import TrpcContext
from zeke_queue.web.trpc.protocol import Procedure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi import APIRouter, FastAPI
    from starlette.routing import BaseRoute

GROUP: Final = "zeke.api"
"""The group of entry points that provide additional routes to ``zeke api`` and ``zeke up``."""


@dataclass(frozen=True, slots=True)
class Extension:
    """The routes and procedures of a package.

    Attributes:
        routers: its REST routes. Each requires a caller with the scope to read, depends on one with another
            scope if it needs that (``Triggers`` or ``Administers`` of ``zeke_queue.web.api``), and declares
            its error responses.
        procedures: its tRPC procedures, by path.
        needs: a task that they require; without it in the catalog, the extension is omitted.
    """

    routers: Sequence[APIRouter] = ()
    procedures: Mapping[str, Procedure[TrpcContext]] = field(
        default_factory=dict[str, Procedure[TrpcContext]]
    )
    needs: str | None = None


def installed_extensions() -> list[Extension]:
    """Return the extensions of installed packages: each entry point names a function that creates one.

    Raises:
        UsageError: see ``created_by``.
    """
    return created_by(GROUP, Extension)


def add_extensions(app: FastAPI, extensions: Sequence[Extension], own: Iterable[BaseRoute]) -> None:
    """Add the routes and procedures of extensions, which replace no others.

    Args:
        app: the application, with all of its own routes and procedures.
        own: those of its own routes that are in routers.

    Raises:
        UsageError: another route or procedure has the path; or a route is none of FastAPI's, so that it
            could not require a caller.
    """
    taken = [one for one in (*own, *app.routes) if isinstance(one, Route | Mount)]
    for extension in extensions:
        for router in extension.routers:
            for route in router.routes:
                if not isinstance(route, APIRoute):
                    raise UsageError(
                        "routers: must have routes of HTTP methods only, which require a caller, got "
                        f"{type(route).__name__}; pass an included router itself, with a prefix of its own"
                    )
                _check_path(route, taken)
            taken += [one for one in router.routes if isinstance(one, APIRoute)]
            app.include_router(router, dependencies=[READS])
        known: dict[str, Procedure[TrpcContext]] = app.state.procedures
        for path, procedure in extension.procedures.items():
            if path in known:
                raise UsageError(
                    f"procedures: {path!r} of {_name(procedure.run)} must have a path of its own, got that "
                    f"of {_name(known[path].run)}; choose another path"
                )
        app.state.procedures = {**known, **extension.procedures}


def _check_path(route: APIRoute, taken: Sequence[Route | Mount]) -> None:
    """Check that no earlier route would get requests of this one."""
    example = route.path_format.format_map(_Example())
    for other in taken:
        methods: set[str] = route.methods or set()
        shared = methods & other.methods if isinstance(other, Route) and other.methods else methods
        if shared and (other.path == route.path or other.path_regex.match(example)):
            raise UsageError(
                f"routers: {min(shared)} {route.path} of {_name(route.endpoint)} must have a path of its own,"
                f" got that of {other.path} of {_name(getattr(other, 'endpoint', other.app))}; choose another"
            )


class _Example(dict[str, str]):
    """A value of any path parameter."""

    def __missing__(self, name: str) -> str:
        return "0"


def _name(function: Any) -> str:
    """Return the name of a function with its module, or that of an object's class."""
    plain: Any = getattr(function, "func", function)
    named: Any = plain if hasattr(plain, "__qualname__") else plain.__class__
    return f"{named.__module__}.{named.__qualname__}"
