"""The text of an API key."""

from __future__ import annotations

import hashlib

import pytest

from tests.cases import check_each
from tests.unit.tables import check_gives
from zeke_queue.core import apikeys
from zeke_queue.errors import InvalidOptionError

DRAW = bytes(range(32))
TEXT = "mid_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


def test_key_is_mid_and_64_hex_digits() -> None:
    assert apikeys.new_key(DRAW) == TEXT


def test_draw_of_another_length_is_rejected() -> None:
    def check(length: int) -> None:
        with pytest.raises(InvalidOptionError, match=rf"draw: must be 32 bytes, got {length}"):
            apikeys.new_key(bytes(length))

    check_each([0, 31, 33], check)


def test_every_key_that_is_made_is_well_formed() -> None:
    assert all(apikeys.is_well_formed(apikeys.new_key(bytes([byte]) * 32)) for byte in range(256))


def test_malformed_key_is_recognized() -> None:
    check_gives(
        apikeys.is_well_formed,
        [
            (text, False)
            for text in [
                "",
                "mid_",
                TEXT[:-1],
                TEXT + "0",
                TEXT + "\n",
                " " + TEXT,
                TEXT.upper(),
                TEXT.replace("mid_", "key_"),
                TEXT.replace("0a", "0A"),
                TEXT.replace("0a", "0g"),
                TEXT.replace("0a", "0٣"),
                TEXT[:-1] + "\0",
            ]
        ],
    )


def test_prefix_reveals_few_digits_of_a_key() -> None:
    assert apikeys.prefix_of(TEXT) == "mid_00010203"


def test_digest_is_the_sha256_of_the_text() -> None:
    assert apikeys.digest_of(TEXT) == hashlib.sha256(TEXT.encode()).digest()


def test_any_text_has_a_digest_even_lone_surrogates() -> None:
    assert apikeys.digest_of("\ud800") != apikeys.digest_of("\ud801")


def test_digests_are_equal_only_for_equal_texts() -> None:
    assert apikeys.same(apikeys.digest_of(TEXT), apikeys.digest_of(TEXT))
    assert not apikeys.same(apikeys.digest_of(TEXT), apikeys.digest_of(TEXT[:-1]))
    assert not apikeys.same(b"", apikeys.digest_of(TEXT))
