"""Fetching over loopback: answers, validators, limits, and codings of bodies in whatever pieces."""

from __future__ import annotations

import gzip
import itertools
import unicodedata
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, check_each_async, each
from tests.clocks import FrozenClock
from tests.tasks.web.doubles import LOOPBACK, client, raw_server
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import (
    BodyRefused,
    Fetched,
    Permanent,
    TooExpensiveDocument,
    Transient,
    WebClient,
    WebError,
    WebOptions,
)
from zeke_tasks.fetch.decoder import MEMBERS_MAX, PIECE, BrokenCoding, Decoder, decode_body
from zeke_tasks.fetch.parser_pool import Compute, ParserKilled, TooExpensive, Unreadable


def site(pages: Mapping[str, Answer | Callable[[Request], Answer]]) -> LoopbackServer:
    async def answer(request: Request) -> Answer:
        page = pages.get(request.path, Answer(status=404))
        return page if isinstance(page, Answer) else page(request)

    return LoopbackServer(answer)


async def fetched(page: Answer | Callable[[Request], Answer], max_bytes: int = 2**23) -> Fetched:
    """Return what a client gets from a server whose only page this is."""
    async with site({"/": page}) as server, client(max_bytes=max_bytes) as web:
        return await web.fetch(f"{server.base_url}/", kind="page")


HEAD_OF_100 = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


def echo(name: str) -> Callable[[Request], Answer]:
    return lambda request: Answer(body=request.headers.get(name, "none").encode("latin-1"))


def test_default_limits() -> None:
    limits = WebOptions()
    assert (limits.timeout, limits.max_bytes, limits.max_redirects) == (15.0, 15 * 2**20, 5)
    assert limits.allow == ()


async def test_body_is_bytes_with_their_content_type() -> None:
    page = Answer(body=b"h\xe9", content_type='text/html; charset="ISO-8859-1"')
    answer = await fetched(page)
    assert (answer.status, answer.body, answer.content_type) == (200, b"h\xe9", page.content_type)
    assert answer.charset == "ISO-8859-1"
    bare = await fetched(Answer(body=b"x", content_type=""))
    assert (bare.content_type, bare.charset) == ("", None)


async def test_fragment_is_not_sent() -> None:
    async with site({"/a": lambda r: Answer(body=f"{r.path}?{r.query}".encode())}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/a?b=1#c", kind="page")
        assert (answer.body, answer.final_url) == (b"/a?b=1", f"{server.base_url}/a?b=1")


async def test_user_agent_and_accepted_types_are_sent() -> None:
    pages = {"/who": echo("user-agent"), "/what": echo("accept")}
    options = WebOptions(user_agent="Reader/1.0 (+https://example.org)", allow=LOOPBACK, gap=0)
    async with site(pages) as server, WebClient(options) as web:
        who = await web.fetch(f"{server.base_url}/who", kind="feed")
        page = await web.fetch(f"{server.base_url}/what", kind="page")
        feed = await web.fetch(f"{server.base_url}/what", kind="feed")
    assert who.body == b"Reader/1.0 (+https://example.org)"
    assert page.body.startswith(b"text/html")
    assert b"application/rss+xml" in feed.body


async def test_cookies_are_not_kept() -> None:
    pages = {"/": Answer(headers=(("Set-Cookie", "id=1; Path=/"),)), "/next": echo("cookie")}
    async with site(pages) as server, client() as web:
        await web.fetch(f"{server.base_url}/", kind="page")
        answer = await web.fetch(f"{server.base_url}/next", kind="page")
    assert answer.body == b"none"


@each('"abc"', 'W/"abc"', "no quotes", '"h\xe9llo"', '""')
async def test_etag_is_sent_back_unchanged(etag: str) -> None:
    pages = {"/": Answer(headers=(("ETag", etag),)), "/next": echo("if-none-match")}
    async with site(pages) as server, client() as web:
        first = await web.fetch(f"{server.base_url}/", kind="feed")
        second = await web.fetch(f"{server.base_url}/next", kind="feed", etag=first.etag)
    assert first.etag == etag
    assert second.body == etag.encode("latin-1")


async def test_invalid_last_modified_is_sent_back_unchanged() -> None:
    pages = {"/": Answer(headers=(("Last-Modified", "yesterday"),)), "/next": echo("if-modified-since")}
    async with site(pages) as server, client() as web:
        first = await web.fetch(f"{server.base_url}/", kind="feed")
        second = await web.fetch(f"{server.base_url}/next", kind="feed", last_modified=first.last_modified)
    assert (first.last_modified, second.body) == ("yesterday", b"yesterday")
    assert (await fetched(echo("if-none-match"))).body == b"none"


async def test_unchanged_answer_keeps_its_validators() -> None:
    page = Answer(status=304, content_type="", headers=(("Last-Modified", "today"),))
    async with site({"/": page}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/", kind="feed", etag='"1"', last_modified="yesterday")
    assert (answer.not_modified, answer.status, answer.body) == (True, 304, b"")
    assert (answer.etag, answer.last_modified) == ('"1"', "today")
    async with site({"/": Answer(status=304, headers=(("ETag", '"2"'),))}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/", kind="feed", etag='"1"', last_modified="yesterday")
    assert (answer.etag, answer.last_modified) == ('"2"', "yesterday")
    with pytest.raises(Permanent, match="304"):
        await fetched(Answer(status=304, content_type=""))


def moved(status: int, location: str) -> Answer:
    return Answer(status=status, headers=(("Location", location),))


async def test_redirects_are_followed_to_the_final_url() -> None:
    pages = {"/a/1": moved(302, "2?x=1#top"), "/a/2": moved(307, "//{host}/b"), "/b": Answer(body=b"here")}
    async with site(pages) as server, client() as web:
        pages["/a/2"] = moved(307, f"//127.0.0.1:{server.port}/b")
        answer = await web.fetch(f"{server.base_url}/a/1", kind="page")
        assert (answer.body, answer.final_url) == (b"here", f"{server.base_url}/b")
        assert answer.url == f"{server.base_url}/a/1"


async def test_permanent_url_needs_permanent_redirects_only() -> None:
    async def check(first: int, second: int, moved_to: str | None) -> None:
        pages = {"/1": moved(first, "/2"), "/2": moved(second, "/3"), "/3": Answer()}
        async with site(pages) as server, client() as web:
            answer = await web.fetch(f"{server.base_url}/1", kind="feed")
            assert answer.permanent_url == (moved_to and server.base_url + moved_to)

    temporary = [(301, 302), (302, 301), (303, 303), (307, 308)]
    cases = [(301, 308, "/3"), (308, 301, "/3"), *((*statuses, None) for statuses in temporary)]
    await check_each_async(cases, check)
    assert (await fetched(Answer())).permanent_url is None


async def test_unchanged_moved_feed_has_a_permanent_url() -> None:
    async with site({"/1": moved(301, "/2"), "/2": Answer(status=304)}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/1", kind="feed", etag='"1"')
        assert answer.permanent_url == f"{server.base_url}/2"


async def test_five_redirects_are_followed_and_a_sixth_is_not() -> None:
    pages = {f"/{n}": moved(302, f"/{n + 1}") for n in range(6)} | {"/6": Answer(body=b"end")}
    async with site(pages) as server, client() as web:
        assert (await web.fetch(f"{server.base_url}/1", kind="page")).body == b"end"
        with pytest.raises(Permanent, match="more than 5 redirects"):
            await web.fetch(f"{server.base_url}/0", kind="page")


async def test_body_of_a_redirect_is_not_read() -> None:
    endless = b"HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n"
    async with site({"/": Answer(body=b"here")}) as server:
        start = endless.replace(b"{}", f"{server.base_url}/".encode())
        async with raw_server(start, endless=b"x" * 4096) as url, client() as web:
            assert (await web.fetch(url, kind="page")).body == b"here"


# 206 answers a request for a part, which was not made; 302 leads nowhere here.
@each(
    *((status, Transient) for status in (206, 408, 425, 429, 500, 502, 503, 504, 520, 524)),
    *((status, Permanent) for status in (302, 400, 401, 403, 404, 405, 410, 451, 501)),
)
async def test_status_decides_between_transient_and_permanent(status: int, expected: type[WebError]) -> None:
    with pytest.raises(expected) as caught:
        await fetched(Answer(status=status))
    assert type(caught.value) is expected
    assert caught.value.status == status
    assert getattr(caught.value, "retry_after", None) is None


@each(200, 201, 203, 204)
async def test_other_statuses_of_success_are_accepted(status: int) -> None:
    assert (await fetched(Answer(status=status))).status == status


async def test_error_names_the_redirected_url_that_failed() -> None:
    async with site({"/1": moved(302, "/2"), "/2": Answer(status=500)}) as server, client() as web:
        with pytest.raises(Transient) as caught:
            await web.fetch(f"{server.base_url}/1", kind="page")
        assert caught.value.url == f"{server.base_url}/2"


@each(
    b"HTTP/1.1 500 \x1b]0;title\x07\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: foo:\x1b[2J\x9b1m\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: \x1b[2J\r\n\r\n",
)
async def test_error_has_no_control_characters_of_the_server(answer: bytes) -> None:
    async with raw_server(answer) as url, client() as web:
        with pytest.raises(WebError) as caught:
            await web.fetch(url, kind="page")
    shown = f"{caught.value}{caught.value.reason}{caught.value.url}"
    assert "Cc" not in {unicodedata.category(character) for character in shown}


@each((429, "120", 120), (503, "120", 120), (503, "Mon, 05 Jan 2026 12:00:30 GMT", 30))
async def test_retry_after_of_a_busy_server_is_kept(status: int, header: str, seconds: float) -> None:
    page = Answer(status=status, headers=(("Retry-After", header),))
    async with site({"/": page}) as server, client(clock=FrozenClock()) as web:
        with pytest.raises(Transient) as caught:
            await web.fetch(f"{server.base_url}/", kind="page")
    assert caught.value.retry_after == seconds


async def test_timeout_covers_all_redirects() -> None:
    clock = FrozenClock()

    def slow_redirect(_: Request) -> Answer:
        clock.advance(15.0)
        return moved(302, "/next")

    async with (
        site({"/": slow_redirect, "/next": Answer()}) as server,
        client(clock=clock, timeout=15.0) as web,
    ):
        with pytest.raises(Transient, match="within 15 seconds") as caught:
            await web.fetch(f"{server.base_url}/", kind="page")
        assert caught.value.url == f"{server.base_url}/next"
        assert server.hits["/next"] == 0


async def test_silent_or_broken_answer_is_transient() -> None:
    async def check(sent: bytes, timeout: float, reason: str) -> None:
        async with raw_server(sent, hang=timeout < 1) as url, client(timeout=timeout) as web:
            with pytest.raises(Transient, match=reason):
                await web.fetch(url, kind="page")

    begun = HEAD_OF_100 + b"first words"
    cases = {
        "silent": (b"", 0.05, r"within 0\.05 seconds"),
        "silent in the body": (begun, 0.05, r"within 0\.05 seconds"),
        "broken off": (begun, 15.0, "."),
        "no HTTP": (b"220 mail.example ESMTP\r\n", 15.0, "."),
    }
    await check_each_async(cases, check)
    async with raw_server() as closed:
        pass
    async with client() as web:
        with pytest.raises(Transient):
            await web.fetch(closed, kind="page")


async def test_body_is_limited() -> None:
    async def check(head: bytes, reason: str, endless: bytes, max_bytes: int) -> None:
        async with (
            raw_server(head, endless=endless, hang=not endless) as url,
            client(max_bytes=max_bytes) as web,
        ):
            with pytest.raises(BodyRefused, match=reason):
                await web.fetch(url, kind="page")

    cases = {
        "announced": (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "1001", b"", 1000),
        "endless": (b"HTTP/1.1 200 OK\r\n\r\n", "100000", b"x" * 4096, 100_000),
    }
    await check_each_async(cases, check)
    assert len((await fetched(Answer(body=b"x" * 1000), max_bytes=1000)).body) == 1000


def encoded(body: bytes, coding: str) -> Answer:
    return Answer(body=body, headers=(("Content-Encoding", coding),))


PARAGRAPHS = b"".join(b"<p>%d</p>" % n for n in range(50_000))


async def test_compressed_body_is_decoded() -> None:
    async def check(coding: str, body: bytes, expected: bytes = PARAGRAPHS) -> None:
        assert (await fetched(encoded(body, coding))).body == expected

    whole, members = gzip.compress(PARAGRAPHS), (PARAGRAPHS[:1000], PARAGRAPHS[1000:])
    cases = {
        "gzip": ("gzip", whole),
        "capitals": ("GZIP", whole),
        "x-gzip": ("x-gzip", whole),
        "two members": ("gzip", b"".join(map(gzip.compress, members))),
        "padded": ("gzip", whole + bytes(512)),
        "deflate": ("deflate", zlib.compress(PARAGRAPHS)),
        "raw deflate": ("deflate", zlib.compress(PARAGRAPHS, wbits=-zlib.MAX_WBITS)),
        "identity": ("identity", PARAGRAPHS),
        "twice": ("gzip, gzip", gzip.compress(whole)),
        "empty": ("gzip", b"", b""),
        "a short one that inflates a lot": ("gzip", gzip.compress(bytes(2**19)), bytes(2**19)),
    }
    await check_each_async(cases, check)


async def test_undecodable_body_is_refused() -> None:
    async def check(
        coding: str, body: bytes, error: type[WebError], reason: str, max_bytes: int = 2**23
    ) -> None:
        with pytest.raises(error, match=reason):
            await fetched(encoded(body, coding), max_bytes)

    twice = gzip.compress(gzip.compress(bytes(100 * 2**20)))
    cases = {
        "bomb": ("gzip", gzip.compress(bytes(10 * 2**20)), BodyRefused, "decompresses to more than"),
        "bomb in a bomb": ("gzip, gzip", twice, BodyRefused, "decompresses to more than"),
        "too large when inflated": ("gzip", gzip.compress(bytes(60_000)), BodyRefused, "50000", 50_000),
        "no gzip": ("gzip", b"no gzip", Transient, "decompressed"),
        "too many codings": (", ".join(["gzip"] * 6), b"x", Permanent, "got 6"),
        "an unknown coding": ("snappy", b"x", Permanent, "snappy"),
    }
    await check_each_async(cases, check)


def nested(members: int) -> bytes:
    """Return empty gzip members inside one: some kilobytes that cost an unbounded decoder minutes."""
    return gzip.compress(gzip.compress(b"", mtime=0) * members)


async def test_members_and_intermediate_output_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0
    real = zlib.decompressobj

    def begin(*arguments: Any) -> Any:
        nonlocal begun
        begun += 1
        return real(*arguments)

    monkeypatch.setattr(zlib, "decompressobj", begin)

    async def check(body: bytes, reason: str, max_bytes: int = 2**23) -> None:
        nonlocal begun
        begun = 0
        with pytest.raises(BodyRefused, match=reason):
            await fetched(encoded(body, "gzip, gzip"), max_bytes)
        assert begun <= MEMBERS_MAX + 2

    cases = {
        "in one": (nested(100_000), "more than 1000 members"),
        "in many": (gzip.compress(b"") * 100_000, "more than 1000 members", 2**22),
        "intermediate": (nested(900), "more than 10000 bytes", 10_000),
    }
    await check_each_async(cases, check)
    whole = b"".join(gzip.compress(bytes([n % 256])) for n in range(MEMBERS_MAX))
    assert len((await fetched(encoded(whole, "gzip"))).body) == MEMBERS_MAX


async def test_body_is_decompressed_where_documents_are_read() -> None:
    functions: list[Any] = []
    failure: Exception | None = None

    async def compute(function: Any, *arguments: Any) -> Any:
        functions.append(function)
        if failure is not None:
            raise failure
        return function(*arguments)

    pages = {"/": encoded(gzip.compress(PARAGRAPHS), "gzip"), "/plain": Answer(body=b"x")}
    options = WebOptions(allow=LOOPBACK, gap=0)
    async with site(pages) as server, WebClient(options, compute=cast("Compute", compute)) as web:
        url = f"{server.base_url}/"
        assert (await web.fetch(url, kind="page")).body == PARAGRAPHS
        await web.fetch(f"{url}plain", kind="page")
        assert functions == [decode_body]
        failures = (
            (Unreadable("too much"), BodyRefused),
            (TooExpensive("30 seconds"), TooExpensiveDocument),
            (ParserKilled("killed"), Transient),
        )
        for failure, error in failures:
            with pytest.raises(error, match=str(failure)):
                await web.fetch(url, kind="page")


async def test_truncated_compressed_body_is_transient() -> None:
    async def check(coding: str, left: int) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n".encode()
        # Without a length, the end of the connection is all that ends the body.
        for sent in (bodies[coding][:left], bodies[coding][:-left]):
            async with raw_server(head, sent) as url, client() as web:
                with pytest.raises(Transient, match="breaks off"):
                    await web.fetch(url, kind="page")

    whole = gzip.compress(PARAGRAPHS)
    bodies = {"gzip": whole, "deflate": zlib.compress(PARAGRAPHS), "gzip, deflate": zlib.compress(whole)}
    await check_each_async(itertools.product(bodies, [1, 2, 10, 1000]), check)


async def test_client_works_after_a_refused_body() -> None:
    pages = {"/big": Answer(body=b"x" * 2000), "/": Answer(body=b"ok")}
    async with site(pages) as server, client(max_bytes=1000) as web:
        with pytest.raises(BodyRefused):
            await web.fetch(f"{server.base_url}/big", kind="page")
        assert (await web.fetch(f"{server.base_url}/", kind="page")).body == b"ok"


# Some that can hardly be compressed, and some that can.
WORDS = b"".join(sha256(bytes([n])).digest() for n in range(10)) + bytes(1000)
WIRE = {
    "": WORDS,
    "gzip": gzip.compress(WORDS[:400]) + gzip.compress(WORDS[400:]),
    "deflate": zlib.compress(WORDS, wbits=-zlib.MAX_WBITS),
    "deflate, gzip": gzip.compress(zlib.compress(WORDS)),
}


def decoded(coding: str, parts: Sequence[bytes]) -> bytes:
    decoder = Decoder(coding, 2**40)
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


@each("gzip", "gzip, gzip")
def test_decoded_pieces_are_bounded(coding: str) -> None:
    bomb = bytes(50 * 2**20)
    for _ in coding.split(","):
        bomb = gzip.compress(bomb)
    sizes = [len(piece) for piece in Decoder(coding, 2**40).feed(bomb)]
    assert (max(sizes), sum(sizes)) == (PIECE, 50 * 2**20)
