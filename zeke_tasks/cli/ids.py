"""Ids as command-line arguments: whole, or the prefix that lists show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from zeke_queue.errors import InvalidOptionError, ZekeError

if TYPE_CHECKING:
    from collections.abc import Iterable

SourceArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The source's id, or its beginning; see `zeke sources list`."),
]

_DIGITS: Final = re.compile(r"[0-9a-f]{1,31}")
_SHOWN: Final = 5


class Abbreviation:
    """An id or a prefix of one.

    Args:
        text: the argument.
        what: the kind of object, such as ``story``.
        plural: the plural of ``what``.
        listing: the command that lists the objects of the current database, if any.

    Raises:
        InvalidOptionError: the text is neither.
    """

    def __init__(self, text: str, what: str, plural: str, listing: str | None) -> None:
        self._what = what
        self._plural = plural
        self._lists_them = f" (`{listing}` lists them)" if listing else ""
        self._lists_those = f"; `{listing}` lists the existing ones" if listing else ""
        self._text = text.strip()
        self._digits = self._text.replace("-", "").lower()
        self.whole: UUID | None = None
        try:
            self.whole = UUID(self._text)
        except ValueError:
            if not _DIGITS.fullmatch(self._digits):
                raise InvalidOptionError(
                    f"ID: must be the id of a {what}, got {text!r}; pass a UUID, or its beginning, such as"
                    f" 3f2a9c1b{self._lists_them}."
                ) from None

    def among(self, known: Iterable[tuple[UUID, str]], where: str = "") -> UUID:
        """Return the only id with this prefix; a whole id is returned unchanged.

        Args:
            known: ids with their names.
            where: which ids were searched, if not all, such as ``of the newest 1,000``.

        Raises:
            ZekeError: no id has this prefix, or several do.
        """
        if self.whole is not None:
            return self.whole
        found = [(each, name) for each, name in known if each.hex.startswith(self._digits)]
        if len(found) == 1:
            return found[0][0]
        if not found:
            raise ZekeError(
                f"No {self._what}{f' {where}' if where else ''} has an id that begins with {self._text!r}"
                f"{self._lists_those}."
            )
        named = "; ".join(f"{each} ({name[:60]})" for each, name in found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ZekeError(
            f"{len(found)} {self._plural} have ids that begin with {self._text!r}: {named}{more};"
            " pass more characters"
        )

    def missing(self) -> ZekeError:
        """Return the error for an unknown id."""
        return ZekeError(f"No {self._what} has the id {self.whole or self._text}{self._lists_those}.")
