"""The template environment of pages and its functions, and static files."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import jinja2
from starlette.responses import Response

from zeke_queue.core.status import attempt_of
from zeke_queue.web.dashboard import formatting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE: Final = Path(__file__).parent
_DIGEST: Final = 12
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def environment(folders: Sequence[Path] = (), **shown: Any) -> jinja2.Environment:
    """Return a template environment that escapes all values and rejects undefined names.

    Args:
        folders: template folders of additional pages.
        **shown: variables of all templates.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE / "templates", *folders]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = cast("dict[str, Any]", made.filters)  # pyright: ignore[reportUnknownMemberType] - they are untyped
    for name in ("instant", "zoned", "length", "number", "whole", "pretty", "excerpt", "short", "state"):
        filters[name] = getattr(formatting, name)
    filters["attempt"] = attempt_of
    names = cast("dict[str, Any]", made.globals)  # pyright: ignore[reportUnknownMemberType]
    names.update(NOTHING=formatting.NOTHING, **shown)
    return made


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file."""

    content: bytes
    media_type: str
    digest: str


class Assets:
    """The static files, each with a URL that changes with its content."""

    def __init__(self, folder: Path = HERE / "static") -> None:
        self._assets = {
            path.relative_to(folder).as_posix(): _asset(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES
        }

    def path(self, name: str) -> str:
        """Return a file's path below the dashboard's root."""
        return f"/static/{self._assets[name].digest}/{name}"

    def response(self, digest: str, name: str) -> Response | None:
        """Return a file's response; None if there is no such file. Browsers do not cache old versions."""
        asset = self._assets.get(name)
        if asset is None:
            return None
        fresh = digest == asset.digest
        kept = "public, max-age=31536000, immutable" if fresh else "no-store"
        return Response(asset.content, media_type=asset.media_type, headers={"cache-control": kept})


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], sha256(content).hexdigest()[:_DIGEST])


def parameters(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters of a URL, without None, empty and False values, and with lists repeated."""
    return [
        (name, "1" if one is True else str(one))
        for name, value in query.items()
        for one in (cast("Sequence[Any]", value) if isinstance(value, list | tuple) else [value])
        if one is not None and one is not False and one != ""
    ]
