"""Decoder of compressed bodies, within limits, for processes that read untrusted documents.

The HTTP library decompresses too, but accepts a truncated body as complete, and reads only the first of
several gzip members. A feed would silently lose its last entries that way, and an article its end.

A few kilobytes can hold hundreds of thousands of empty gzip members inside another one, or megabytes that
decompress to gigabytes. So nothing is decompressed on the event loop, and codings, members and the output of
every coding are bounded.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ACCEPTED: Final = ("deflate", "gzip")
"""The Accept-Encoding header: the common codings that every installation can decode."""

PIECE: Final = 2**20
"""Maximum bytes of a piece."""

CODINGS_MAX: Final = 2
"""Maximum codings of a body; some servers compress twice by mistake."""

MEMBERS_MAX: Final = 1000
"""Maximum members of a gzip body; those of bgzip hold 64 KiB each, so 15 MiB have 240."""

RATIO_FLOOR: Final = 2**20
"""Bytes up to which a body may decompress at any ratio: a short page of spaces is harmless."""

_CHUNK: Final = 2**16
_ALIASES: Final = {"x-gzip": "gzip"}
_GZIP_START: Final = b"\x1f"


class UnknownCoding(ValueError):
    """The body has a coding that was not accepted."""


class BrokenCoding(ValueError):
    """The body is invalid in its coding, or truncated."""


class TooLarge(ValueError):
    """The body, or what one of its codings holds, exceeds a limit."""


def codings_of(header: str) -> list[str]:
    """Return the codings in a ``Content-Encoding`` header, in the order of application, without identity.

    Raises:
        UnknownCoding: the header names a coding that is not in ``ACCEPTED``, or too many.
    """
    names = [_ALIASES.get(name, name) for name in (one_line(word).lower() for word in header.split(","))]
    names = [name for name in names if name not in {"", "identity"}]
    if unknown := sorted({*names} - {*ACCEPTED}):
        raise UnknownCoding(f"is encoded as {', '.join(unknown)}, which was not requested")
    if len(names) > CODINGS_MAX:
        raise UnknownCoding(f"must have at most {CODINGS_MAX} content codings, got {len(names)}")
    return names


def decode_body(body: bytes, header: str, max_bytes: int, max_ratio: float) -> bytes:
    """Decode a whole body. Call it in a process that may be killed, not on the event loop.

    Args:
        header: the ``Content-Encoding`` header.
        max_bytes: limit of the output of each coding.
        max_ratio: limit of decompressed bytes per compressed byte, above ``RATIO_FLOOR``.

    Raises:
        UnknownCoding, BrokenCoding, TooLarge: as named.
    """
    decoder, whole = Decoder(header, max_bytes), bytearray()
    # After each member, zlib copies the rest of its input, so the input is given in parts.
    for start in range(0, len(body), _CHUNK):
        for piece in decoder.feed(body[start : start + _CHUNK]):
            whole += piece
            sent = min(start + _CHUNK, len(body))
            if len(whole) > RATIO_FLOOR and len(whole) > max_ratio * sent:
                raise TooLarge(f"decompresses to more than {max_ratio:g} times its size")
    decoder.close()
    return bytes(whole)


class Decoder:
    """Decodes one body.

    Args:
        header: the ``Content-Encoding`` header, ``""`` if there is none.
        max_bytes: limit of the output of each coding.

    Raises:
        UnknownCoding: the header names a coding that is not in ``ACCEPTED``, or too many.
    """

    def __init__(self, header: str, max_bytes: int) -> None:
        # The header names the codings in the order of application, so they are undone in reverse.
        self._stages = [_Inflater(max_bytes, gzip=name == "gzip") for name in reversed(codings_of(header))]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode some bytes.

        Raises:
            BrokenCoding: the bytes are invalid.
            TooLarge: a coding has too many members, or too much output.
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
            BrokenCoding: the body is truncated.
        """
        if not all(stage.whole for stage in self._stages):
            raise BrokenCoding("breaks off in the middle of compressed data")


class _Stream(Protocol):
    """A zlib decompression object, for which the module exports no type."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Inflater:
    """Decodes one coding: gzip, or deflate with or without the zlib header, which some servers omit."""

    def __init__(self, max_bytes: int, *, gzip: bool) -> None:
        self._max_bytes = max_bytes
        self._gzip = gzip
        self._members = 0
        self._size = 0
        self._inflater: _Stream | None = None
        self._start = b""

    @property
    def whole(self) -> bool:
        """Whether the input is empty or complete."""
        return self._inflater.eof if self._inflater else not self._start

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            yield from self._feed(part)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            self._start += data
            # The first two bytes show whether there is a zlib header.
            if len(self._start) < 2:  # noqa: PLR2004 - see above
                return
            data, self._inflater = self._start, self._begin(self._start)
        more = bool(data)
        while more:
            if self._inflater.eof:
                # Another gzip member may follow the first; anything else is padding and ignored.
                if not (self._gzip and data.startswith(_GZIP_START)):
                    return
                self._inflater = self._begin(data)
            piece = self._inflater.decompress(data, PIECE)
            if piece:
                self._size += len(piece)
                if self._size > self._max_bytes:
                    raise TooLarge(f"decompresses to more than {self._max_bytes} bytes, the limit")
                yield piece
            data = self._inflater.unused_data or self._inflater.unconsumed_tail
            # After a full piece the decoder may have more output without further input.
            more = bool(data) or (len(piece) == PIECE and not self._inflater.eof)

    def _begin(self, data: bytes) -> _Stream:
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise TooLarge(f"has more than {MEMBERS_MAX} members, the limit")
        if self._gzip:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        bare = data[0] & 15 != zlib.DEFLATED or int.from_bytes(data[:2]) % 31
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
