"""Imports a catalog by its path, as uvicorn loads an application, and explains errors in it."""

from __future__ import annotations

import importlib
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

from zeke_queue.errors import UsageError, ZekeError
from zeke_queue.task.catalog import Catalog

if TYPE_CHECKING:
    from types import ModuleType


def load_catalog(path: str | None) -> Catalog[Any]:
    """Import a catalog by ``module:attribute``, with the current directory importable.

    Args:
        path: the import path; None if not given. The attribute may be dotted.

    Raises:
        UsageError: the path is missing or malformed, the module does not exist or fails, or the attribute is
            not a catalog.
    """
    if path is None:
        raise UsageError("Name the catalog of the tasks, as in --app module:catalog, or set ZEKE_APP")
    # Split from the end, since the name of a file may contain a colon.
    module_name, colon, attribute = path.rpartition(":")
    if not colon and path.endswith(".py"):
        module_name, attribute = path, "catalog"
    if module_name.endswith(".py") or PurePath(module_name).name != module_name:
        raise UsageError(
            f"--app: must be MODULE:CATALOG, got the file {path!r}; pass"
            f" {_module_of(module_name, attribute or 'catalog')}"
        )
    if not colon or not attribute or not all(module_name.split(".")):
        raise UsageError(
            f"--app: must be MODULE:CATALOG, got {path!r}; pass one such as myproject.tasks:catalog"
        )
    found: Any = _module(path, module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"--app: must name a catalog, got {path!r}, which does not exist{_hint(module_name)}"
            )
        found = getattr(found, part)
    if not isinstance(found, Catalog):
        raise UsageError(
            f"--app: must name a zeke_queue.Catalog, got {path!r}, which is a {type(found).__name__}"
            f"{_hint(module_name)}"
        )
    return cast("Catalog[Any]", found)


def default_catalog() -> str | None:
    """Return the path of the catalog that an installed distribution offers; None if none does, or several do.

    Distributions offer it by the entry-point group ``zeke.catalogs``.
    """
    values = {point.value for point in entry_points(group="zeke.catalogs")}
    return values.pop() if len(values) == 1 else None


def _module(path: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module missing inside the catalog's module is another error than a misspelt --app.
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"--app {path!r}: module {error.name!r} not found in {here} or on sys.path"
            ) from error
        raise _failed(path, name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(path, name, error) from error


def _module_of(file: str, attribute: str) -> str:
    """Return the name of a file's module, relative to the directory it is imported from."""
    path = PurePath(file.removesuffix(".py"))
    apart = path.is_absolute() or ".." in path.parts
    where = f" in {path.parent}" if apart else ""
    return f"--app {path.name if apart else '.'.join(path.parts)}:{attribute}{where}"


def _failed(path: str, name: str, error: BaseException) -> UsageError:
    """Return the error of an import, with the line of the application's code."""
    said = str(error) if isinstance(error, ZekeError) else f"{type(error).__name__}: {error}"
    return UsageError(f"--app {path!r}: {name} can't be imported ({_place(error)}): {said}")


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    ours = str(Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen importlib")) and frame.filename != importlib.__file__
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "before its first line"


def _hint(module_name: str) -> str:
    """Return the remedy: the catalogs that a module has, if any."""
    values = vars(sys.modules[module_name])
    names = sorted(name for name, value in values.items() if isinstance(value, Catalog))
    return f"; pass {' or '.join(f'{module_name}:{name}' for name in names)}" if names else ""
