"""The OpenAPI document: FastAPI's, with keys and the payload schema of each task added."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from fastapi.openapi.utils import get_openapi
from starlette.requests import Request

from zeke_queue.web.api import Reads

if TYPE_CHECKING:
    from fastapi import FastAPI

    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

_OPEN: Final = ("/healthz", "/readyz")
"""Routes without authentication."""

_FRAMEWORKS: Final = ("HTTPValidationError", "ValidationError")
"""Schemas of FastAPI's default error responses."""

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9._-]")
_DEFS: Final = "#/$defs/"


def describe(app: FastAPI, catalog: Catalog) -> None:
    """Serve the OpenAPI document of an application to callers with the scope to read."""

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request, _caller: Reads) -> dict[str, Any]:
        return {**document(), "servers": [{"url": request.scope.get("root_path") or "/"}]}

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "mid_ and 64 hexadecimal digits"}
            made["components"]["securitySchemes"] = {"key": scheme}
            made["security"] = [{"key": []}]
            for path in _OPEN:
                made["paths"][path]["get"]["security"] = []
            made["components"]["schemas"] |= _triggers(catalog)
            _leave_out_frameworks_errors(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document


def _leave_out_frameworks_errors(document: dict[str, Any]) -> None:
    """Remove the 422 responses that FastAPI adds to routes, and their schemas.

    A route that can answer 422 declares it with the actual shape; the others accept any text.
    """
    for name in _FRAMEWORKS:
        document["components"]["schemas"].pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            if _FRAMEWORKS[0] in str(operation["responses"].get("422")):
                del operation["responses"]["422"]


def _triggers(catalog: Catalog) -> dict[str, Any]:
    """Return the schemas of ``POST /trigger`` bodies, one for each task, with the schemas they refer to."""
    schemas: dict[str, Any] = {}
    choices: list[dict[str, Any]] = []
    for _, task in sorted(catalog.tasks.items()):
        name = f"Trigger.{_UNFIT.sub('_', task.name)}"
        payload, required = _payload(task, name, schemas)
        schemas[name] = {
            "title": f"Trigger {task.name}",
            "description": task.description or "",
            "type": "object",
            "required": ["taskId", *(["payload"] if required else [])],
            "properties": {"taskId": {"enum": [task.name, *task.aliases]}, "payload": payload},
        }
        choices.append({"$ref": f"#/components/schemas/{name}"})
    if choices:
        schemas["Trigger"] = {"title": "Trigger", "description": "A job to send.", "anyOf": choices}
    return schemas


def _payload(task: Task[Any, Any], name: str, schemas: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the schema of a task's payload, and whether a trigger requires one."""
    schema = task.json_schema()
    if schema is None:
        return {
            "description": "This task takes no payload.",
            "type": ["object", "null"],
            "maxProperties": 0,
        }, False
    for inner, its in schema.pop("$defs", {}).items():
        schemas[f"{name}.{_UNFIT.sub('_', inner)}"] = _moved(its, name)
    moved = _moved(schema, name)
    if schema.get("required") or schema.get("type") != "object":
        return moved, True
    return {"anyOf": [moved, {"type": "null"}]}, False


def _moved(schema: Any, name: str) -> Any:
    """Return a schema with references rewritten to the document's components."""
    if isinstance(schema, list):
        return [_moved(one, name) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    members = cast("dict[str, Any]", schema)
    return {
        key: _reference(value, name) if key == "$ref" else _moved(value, name)
        for key, value in members.items()
    }


def _reference(value: Any, name: str) -> Any:
    if isinstance(value, str) and value.startswith(_DEFS):
        return f"#/components/schemas/{name}.{_UNFIT.sub('_', value.removeprefix(_DEFS))}"
    return _moved(value, name)
