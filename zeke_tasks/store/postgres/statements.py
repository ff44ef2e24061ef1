"""The statements of the domain's store, read once from ``sql/<method>.sql``; parameters are ``%(name)s``."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final, LiteralString, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


def _load() -> Mapping[str, LiteralString]:
    folder = files("zeke_tasks.store.postgres") / "sql"
    # The files are part of the package and contain no caller's data, so they are as safe as literals.
    return {
        file.name.removesuffix(".sql"): cast("LiteralString", file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql")
    }


STATEMENTS: Final = _load()
