"""Codings of bodies, in whatever pieces the network brings them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_tasks.fetch.decoder import PIECE, BrokenCoding, Decoder

# Some that can hardly be compressed, and some that can.
WORDS = b"".join(sha256(bytes([n])).digest() for n in range(10)) + bytes(1000)
WIRE = {
    "": WORDS,
    "gzip": gzip.compress(WORDS[:400]) + gzip.compress(WORDS[400:]),
    "deflate": zlib.compress(WORDS, wbits=-zlib.MAX_WBITS),
    "deflate, gzip": gzip.compress(zlib.compress(WORDS)),
}


def decoded(coding: str, parts: Sequence[bytes]) -> bytes:
    decoder = Decoder(coding)
    whole = b"".join(piece for part in parts for piece in decoder.feed(part))
    decoder.close()
    return whole


@given(st.sampled_from(sorted(WIRE)), st.sets(st.integers(0, 2000)))
def test_body_is_decoded_from_pieces_of_any_size(coding: str, cuts: set[int]) -> None:
    wire = WIRE[coding]
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    assert decoded(coding, [wire[start:end] for start, end in pairwise(edges)]) == WORDS


def test_truncated_body_is_refused_at_every_length() -> None:
    def check(coding: str) -> None:
        wire = WIRE[coding]
        # Between two members it is whole.
        ends = {0, len(gzip.compress(WORDS[:400]))} if coding == "gzip" else {0}
        for end in set(range(len(wire))) - ends:
            with pytest.raises(BrokenCoding):
                decoded(coding, [wire[:end]])

    check_each([coding for coding in WIRE if coding], check)


def test_decoded_pieces_are_bounded() -> None:
    def check(coding: str) -> None:
        bomb = bytes(50 * 2**20)
        for _ in coding.split(","):
            bomb = gzip.compress(bomb)
        sizes = [len(piece) for piece in Decoder(coding).feed(bomb)]
        assert (max(sizes), sum(sizes)) == (PIECE, 50 * 2**20)

    check_each(["gzip", "gzip, gzip"], check)
