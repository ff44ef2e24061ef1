"""Undo what a body was compressed with, in pieces whose size is bounded whatever comes in.

The HTTP library can do so too, but takes a body that breaks off for a whole one, and of several gzip members
reads the first. A feed would lose its last entries that way, and an article its end, and nobody would notice.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ACCEPTED: Final = ("deflate", "gzip")
"""What servers are told; of the codings that are in use, those that every installation can undo."""

PIECE: Final = 2**20
"""Bytes of a piece at most."""

_MOST: Final = 5
_ALIASES: Final = {"x-gzip": "gzip"}
_GZIP_START: Final = b"\x1f"


class UnknownCoding(ValueError):
    """The body is encoded in a way that was not asked for."""


class BrokenCoding(ValueError):
    """The body is not what its encoding says, or breaks off."""


class Decoder:
    """Undoes the codings of one body.

    Args:
        header: the ``Content-Encoding`` header, ``""`` if there is none.

    Raises:
        UnknownCoding: it names one that is not in ``ACCEPTED``, or too many.
    """

    def __init__(self, header: str) -> None:
        names = [_ALIASES.get(name, name) for name in (one_line(word).lower() for word in header.split(","))]
        names = [name for name in names if name not in {"", "identity"}]
        if unknown := sorted({*names} - {*ACCEPTED}):
            raise UnknownCoding(f"is encoded as {', '.join(unknown)}, which was not asked for")
        if len(names) > _MOST:
            raise UnknownCoding(f"is compressed {len(names)} times; at most {_MOST} are undone")
        # The last that was applied is undone first.
        self._stages = [_Inflater(gzip=name == "gzip") for name in reversed(names)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what some bytes stand for.

        Raises:
            BrokenCoding: they are not what the header says.
        """
        pieces: Iterator[bytes] = iter((data,))
        for stage in self._stages:
            pieces = stage.through(pieces)
        try:
            yield from pieces
        except zlib.error as error:
            raise BrokenCoding(f"can't be decompressed: {error}") from error

    def close(self) -> None:
        """End the input.

        Raises:
            BrokenCoding: it was not.
        """
        if not all(stage.whole for stage in self._stages):
            raise BrokenCoding("breaks off in the middle of what was compressed")


class _Stream(Protocol):
    """What zlib undoes one stream with; the module names no type for it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """One coding: a zlib stream, one without its header, as some servers understand "deflate", or gzip."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflater: _Stream | None = None
        self._start = b""

    @property
    def whole(self) -> bool:
        """Whether nothing has come yet, or all of it."""
        return self._inflater.eof if self._inflater else not self._start

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            yield from self._feed(part)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            self._start += data
            # A zlib stream is told from a bare one by its first two bytes.
            if len(self._start) < 2:  # noqa: PLR2004 - see above
                return
            data, self._inflater = self._start, self._begin(self._start)
        more = bool(data)
        while more:
            if self._inflater.eof:
                # Some servers send members one after the other, others padding; the latter means nothing.
                if not (self._gzip and data.startswith(_GZIP_START)):
                    return
                self._inflater = self._begin(data)
            piece = self._inflater.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._inflater.unused_data or self._inflater.unconsumed_tail
            # A piece of the full size may have more behind it that needs no more bytes.
            more = bool(data) or (len(piece) == PIECE and not self._inflater.eof)

    def _begin(self, data: bytes) -> _Stream:
        if self._gzip:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        bare = data[0] & 15 != zlib.DEFLATED or int.from_bytes(data[:2]) % 31
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
