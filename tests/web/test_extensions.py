"""Routes and procedures that other packages add to the API, and packages that are broken."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter

from tests.cases import check_each
from tests.web.conftest import Web
from zeke_queue import UsageError
from zeke_queue.storage.access import Scope
from zeke_queue.web import Extension, create_app, entry_points
from zeke_queue.web.dashboard import installed_pages
from zeke_queue.web.extension import installed_extensions
from zeke_queue.web.trpc.protocol import Procedure

if TYPE_CHECKING:
    from zeke_queue.client.queue import Queue


async def listed() -> list[str]:
    return ["a secret"]


async def procedure(_context: Any, _value: Any) -> None: ...


def routes(*paths: str, method: str = "GET") -> Extension:
    router = APIRouter()
    for path in paths:
        router.add_api_route(path, listed, methods=[method])
    return Extension(routers=[router])


async def test_routes_of_extensions_require_a_caller(queue: Queue) -> None:
    web = Web(create_app(queue, extensions=[routes("/things"), routes("/things", method="PUT")]), queue)
    key = await web.key(Scope.READ)
    for method in ("GET", "PUT"):
        assert (await web(method, "/things")).status_code == 401
        assert (await web(method, "/things", key)).json() == ["a secret"]


def test_paths_that_are_taken_are_refused_with_both_names(queue: Queue) -> None:
    ours = "tests.web.test_extensions.listed"
    nested, socket = APIRouter(), APIRouter()
    nested.include_router(routes("/inner").routers[0])
    socket.add_api_websocket_route("/socket", listed)
    again = Extension(procedures={"trigger.run": Procedure("query", procedure, Scope.READ)})
    added = Extension(procedures={"mine": Procedure("query", procedure, Scope.READ)})

    def check(extensions: list[Extension], *parts: str) -> None:
        with pytest.raises(UsageError) as refused:
            create_app(queue, extensions=extensions)
        assert [one for one in parts if one not in str(refused.value)] == []

    path = "must have a path of its own, got that of"
    check_each(
        {
            "ours": ([routes("/trigger", method="POST")], f"POST /trigger of {ours}", "zeke_queue.web.rest."),
            "a parameter": (
                [routes("/trigger/runs/{mine}")],
                path,
                "/trigger/runs/{",
                "zeke_queue.web.rest.",
            ),
            "below": ([routes("/trpc/mine")], path, "/trpc/{path:path} of zeke_queue.web.trpc.router.call"),
            "the document": ([routes("/openapi.json")], path, "zeke_queue.web.document."),
            "the dashboard": ([routes("/dashboard/mine")], path, "of /dashboard of"),
            "each other": ([routes("/a/{b}"), routes("/a/c")], f"GET /a/c of {ours}", f"/a/{{b}} of {ours}"),
            "included": ([Extension(routers=[nested])], "routers: must have routes of HTTP methods only"),
            "socket": ([Extension(routers=[socket])], "routers: must have routes of HTTP methods only"),
            "procedure": ([added, added], "'mine' of tests.web.test_extensions.procedure must have a path"),
            "our procedure": ([again], "'trigger.run' of tests.web.test_extensions.procedure must have"),
        },
        check,
    )


def broken() -> None:
    raise RuntimeError("no configuration")


def test_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(value: str, message: str) -> None:
        point = EntryPoint("acme", value, "zeke.api")
        monkeypatch.setattr(entry_points, "entry_points", lambda group: EntryPoints([point]))
        for load in (installed_extensions, installed_pages):
            with pytest.raises(UsageError) as refused:
                load()
            assert str(refused.value).startswith(f"The entry point 'acme' ({value}) of the group 'zeke.")
            assert message in str(refused.value)

    check_each(
        [
            ("no_such_module:extension", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_"),
            ("tests.web.wire:missing", "cannot be loaded: AttributeError: "),
            (f"{__name__}:broken", "cannot be loaded: RuntimeError: no configuration; install what is"),
            ("builtins:dict", "must name a function that returns "),
        ],
        check,
    )
