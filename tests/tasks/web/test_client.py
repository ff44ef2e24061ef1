"""Fetching over loopback: what comes back, what is remembered, and where it stops."""

from __future__ import annotations

import gzip
import unicodedata
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.clocks import FrozenClock
from tests.tasks.web.doubles import LOOPBACK, client, raw_server
from zeke_tasks.demo_site import Answer, LoopbackServer, Request
from zeke_tasks.web import BodyRefused, Fetched, Permanent, Transient, WebClient, WebError, WebOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def site(pages: Mapping[str, Answer | Callable[[Request], Answer]]) -> LoopbackServer:
    """A server with these pages, each an answer or what makes one."""

    async def answer(request: Request) -> Answer:
        page = pages.get(request.path, Answer(status=404))
        return page if isinstance(page, Answer) else page(request)

    return LoopbackServer(answer)


async def fetched(page: Answer | Callable[[Request], Answer], max_bytes: int = 2**23) -> Fetched:
    """What a client gets from a server whose only page this is."""
    async with site({"/": page}) as server, client(max_bytes=max_bytes) as web:
        return await web.fetch(f"{server.base_url}/", kind="page")


def echo(name: str) -> Callable[[Request], Answer]:
    """A page that shows a header of the request."""
    return lambda request: Answer(body=request.headers.get(name, "none").encode("latin-1"))


def test_the_limits_are_those_that_were_agreed() -> None:
    limits = WebOptions()
    assert (limits.timeout, limits.max_bytes, limits.max_redirects) == (15.0, 15 * 2**20, 5)
    assert limits.allow == ()


# What comes back


async def test_the_body_comes_back_as_bytes_with_what_the_server_says_of_it() -> None:
    page = Answer(body=b"h\xe9", content_type='text/html; charset="ISO-8859-1"')
    answer = await fetched(page)
    assert (answer.status, answer.body, answer.content_type) == (200, b"h\xe9", page.content_type)
    assert answer.charset == "ISO-8859-1"


async def test_an_answer_without_a_type_has_no_charset() -> None:
    answer = await fetched(Answer(body=b"x", content_type=""))
    assert (answer.content_type, answer.charset) == ("", None)


async def test_the_fragment_is_not_sent() -> None:
    async with site({"/a": lambda r: Answer(body=f"{r.path}?{r.query}".encode())}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/a?b=1#c", kind="page")
        assert (answer.body, answer.final_url) == (b"/a?b=1", f"{server.base_url}/a?b=1")


async def test_it_says_who_it_is_and_what_it_hopes_for() -> None:
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


# Validators


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"', "no quotes", '"h\xe9llo"', '""'])
async def test_an_etag_is_kept_and_given_back_as_it_came(etag: str) -> None:
    pages = {"/": Answer(headers=(("ETag", etag),)), "/next": echo("if-none-match")}
    async with site(pages) as server, client() as web:
        first = await web.fetch(f"{server.base_url}/", kind="feed")
        second = await web.fetch(f"{server.base_url}/next", kind="feed", etag=first.etag)
    assert first.etag == etag
    assert second.body == etag.encode("latin-1")


async def test_a_date_that_is_none_is_given_back_as_it_came() -> None:
    pages = {"/": Answer(headers=(("Last-Modified", "yesterday"),)), "/next": echo("if-modified-since")}
    async with site(pages) as server, client() as web:
        first = await web.fetch(f"{server.base_url}/", kind="feed")
        second = await web.fetch(f"{server.base_url}/next", kind="feed", last_modified=first.last_modified)
    assert (first.last_modified, second.body) == ("yesterday", b"yesterday")


async def test_without_validators_none_are_sent() -> None:
    assert (await fetched(echo("if-none-match"))).body == b"none"


async def test_what_did_not_change_has_no_body_and_keeps_its_validators() -> None:
    page = Answer(status=304, content_type="", headers=(("Last-Modified", "today"),))
    async with site({"/": page}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/", kind="feed", etag='"1"', last_modified="yesterday")
    assert (answer.not_modified, answer.status, answer.body) == (True, 304, b"")
    assert (answer.etag, answer.last_modified) == ('"1"', "today")


async def test_not_modified_without_a_validator_is_no_answer() -> None:
    with pytest.raises(Permanent, match="304"):
        await fetched(Answer(status=304, content_type=""))


# Redirects


def moved(status: int, location: str) -> Answer:
    return Answer(status=status, headers=(("Location", location),))


async def test_redirects_are_followed_and_the_last_url_is_told() -> None:
    pages = {"/a/1": moved(302, "2?x=1#top"), "/a/2": moved(307, "//{host}/b"), "/b": Answer(body=b"here")}
    async with site(pages) as server, client() as web:
        pages["/a/2"] = moved(307, f"//127.0.0.1:{server.port}/b")
        answer = await web.fetch(f"{server.base_url}/a/1", kind="page")
        assert (answer.body, answer.final_url) == (b"here", f"{server.base_url}/b")
        assert answer.url == f"{server.base_url}/a/1"


@pytest.mark.parametrize(
    ("first", "second", "for_good"),
    [
        (301, 308, True),
        (308, 301, True),
        (301, 302, False),
        (302, 301, False),
        (303, 303, False),
        (307, 308, False),
    ],
)
async def test_only_a_chain_of_permanent_redirects_moves_a_url_for_good(
    first: int, second: int, *, for_good: bool
) -> None:
    pages = {"/1": moved(first, "/2"), "/2": moved(second, "/3"), "/3": Answer()}
    async with site(pages) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/1", kind="feed")
        assert answer.permanent_url == (f"{server.base_url}/3" if for_good else None)


async def test_without_a_redirect_nothing_moved() -> None:
    assert (await fetched(Answer())).permanent_url is None


async def test_a_moved_feed_that_did_not_change_is_known_to_have_moved() -> None:
    async with site({"/1": moved(301, "/2"), "/2": Answer(status=304)}) as server, client() as web:
        answer = await web.fetch(f"{server.base_url}/1", kind="feed", etag='"1"')
        assert answer.permanent_url == f"{server.base_url}/2"


async def test_five_redirects_are_followed_and_a_sixth_is_not() -> None:
    pages = {f"/{n}": moved(302, f"/{n + 1}") for n in range(6)} | {"/6": Answer(body=b"end")}
    async with site(pages) as server, client() as web:
        assert (await web.fetch(f"{server.base_url}/1", kind="page")).body == b"end"
        with pytest.raises(Permanent, match="more than 5 redirects"):
            await web.fetch(f"{server.base_url}/0", kind="page")


async def test_a_redirect_that_leads_nowhere_is_permanent() -> None:
    with pytest.raises(Permanent, match="302"):
        await fetched(Answer(status=302))


async def test_the_body_of_a_redirect_is_not_read() -> None:
    endless = b"HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n"
    async with site({"/": Answer(body=b"here")}) as server:
        start = endless.replace(b"{}", f"{server.base_url}/".encode())
        async with raw_server(start, endless=b"x" * 4096) as url, client() as web:
            assert (await web.fetch(url, kind="page")).body == b"here"


# Statuses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524])
async def test_a_server_in_trouble_is_transient(status: int) -> None:
    with pytest.raises(Transient) as caught:
        await fetched(Answer(status=status))
    assert (caught.value.status, caught.value.retry_after) == (status, None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 451, 501])
async def test_a_refusal_is_permanent(status: int) -> None:
    with pytest.raises(Permanent) as caught:
        await fetched(Answer(status=status))
    assert caught.value.status == status


@pytest.mark.parametrize("status", [200, 201, 203, 204])
async def test_success_is_success(status: int) -> None:
    assert (await fetched(Answer(status=status))).status == status


async def test_a_part_that_nobody_asked_for_is_transient() -> None:
    with pytest.raises(Transient):
        await fetched(Answer(status=206))


async def test_the_error_of_a_redirected_url_names_the_one_that_failed() -> None:
    async with site({"/1": moved(302, "/2"), "/2": Answer(status=500)}) as server, client() as web:
        with pytest.raises(Transient) as caught:
            await web.fetch(f"{server.base_url}/1", kind="page")
        assert caught.value.url == f"{server.base_url}/2"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 \x1b]0;title\x07\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: foo:\x1b[2J\x9b1m\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: \x1b[2J\r\n\r\n",
    ],
)
async def test_what_a_server_says_of_an_error_cannot_steer_a_terminal(answer: bytes) -> None:
    async with raw_server(answer) as url, client() as web:
        with pytest.raises(WebError) as caught:
            await web.fetch(url, kind="page")
    error = caught.value
    assert not any(
        unicodedata.category(character) == "Cc" for character in f"{error}{error.reason}{error.url}"
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_says_how_long_to_wait_is_heard(status: int) -> None:
    with pytest.raises(Transient) as caught:
        await fetched(Answer(status=status, headers=(("Retry-After", "120"),)))
    assert caught.value.retry_after == 120


async def test_a_server_that_names_the_time_is_heard_by_our_clock() -> None:
    page = Answer(status=503, headers=(("Retry-After", "Mon, 05 Jan 2026 12:00:30 GMT"),))
    async with site({"/": page}) as server, client(clock=FrozenClock()) as web:
        with pytest.raises(Transient) as caught:
            await web.fetch(f"{server.base_url}/", kind="page")
    assert caught.value.retry_after == 30


# Time


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with raw_server(hang=True) as url, client(timeout=0.05) as web:
        with pytest.raises(Transient, match=r"within 0\.05 seconds"):
            await web.fetch(url, kind="page")


async def test_a_body_that_never_ends_in_silence_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst words"
    async with raw_server(head, hang=True) as url, client(timeout=0.05) as web:
        with pytest.raises(Transient, match=r"within 0\.05 seconds"):
            await web.fetch(url, kind="page")


async def test_the_time_is_for_all_redirects_together() -> None:
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


async def test_a_connection_that_breaks_off_is_transient() -> None:
    async with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst words") as url,
        client() as web,
    ):
        with pytest.raises(Transient):
            await web.fetch(url, kind="page")


async def test_a_server_that_speaks_no_http_is_transient() -> None:
    async with raw_server(b"220 mail.example ESMTP\r\n") as url, client() as web:
        with pytest.raises(Transient):
            await web.fetch(url, kind="page")


async def test_a_port_where_nobody_listens_is_transient() -> None:
    async with site({}) as server:
        url = f"{server.base_url}/"
    async with client() as web:
        with pytest.raises(Transient):
            await web.fetch(url, kind="page")


# Size


async def test_a_body_that_announces_too_much_is_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"
    async with raw_server(head, hang=True) as url, client(max_bytes=1000) as web:
        with pytest.raises(BodyRefused, match="1001"):
            await web.fetch(url, kind="page")


async def test_a_body_that_goes_on_and_on_is_cut_off() -> None:
    async with (
        raw_server(b"HTTP/1.1 200 OK\r\n\r\n", endless=b"x" * 4096) as url,
        client(max_bytes=100_000) as web,
    ):
        with pytest.raises(BodyRefused, match="100000"):
            await web.fetch(url, kind="page")


async def test_a_body_of_just_the_most_is_read() -> None:
    assert len((await fetched(Answer(body=b"x" * 1000), max_bytes=1000)).body) == 1000


def encoded(body: bytes, coding: str) -> Answer:
    return Answer(body=body, headers=(("Content-Encoding", coding),))


def _twice(body: bytes) -> bytes:
    return zlib.compress(gzip.compress(body))


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:1000]) + gzip.compress(body[1000:])),
        ("gzip", lambda body: gzip.compress(body) + bytes(512)),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-zlib.MAX_WBITS)),
        ("identity", bytes),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    ],
)
async def test_a_compressed_body_comes_back_whole(coding: str, compress: Callable[[bytes], bytes]) -> None:
    body = b"".join(b"<p>%d</p>" % n for n in range(50_000))
    assert (await fetched(encoded(compress(body), coding))).body == body


async def test_a_gzip_bomb_is_stopped_by_its_ratio() -> None:
    bomb = gzip.compress(bytes(10 * 2**20))
    with pytest.raises(BodyRefused, match="inflates"):
        await fetched(encoded(bomb, "gzip"))


async def test_a_bomb_in_a_bomb_is_stopped_too() -> None:
    bomb = gzip.compress(gzip.compress(bytes(100 * 2**20)))
    with pytest.raises(BodyRefused):
        await fetched(encoded(bomb, "gzip, gzip"))


async def test_the_cap_counts_what_is_inflated() -> None:
    with pytest.raises(BodyRefused, match="50000"):
        await fetched(encoded(gzip.compress(bytes(60_000)), "gzip"), max_bytes=50_000)


async def test_a_short_body_may_inflate_as_much_as_it_likes() -> None:
    assert len((await fetched(encoded(gzip.compress(bytes(2**19)), "gzip"))).body) == 2**19


async def test_a_broken_compression_is_transient() -> None:
    with pytest.raises(Transient, match="decompressed"):
        await fetched(encoded(b"no gzip", "gzip"))


@pytest.mark.parametrize("left", [1, 2, 10, 1000])
@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("gzip, deflate", _twice)]
)
async def test_a_compressed_body_that_breaks_off_is_transient(
    coding: str, compress: Callable[[bytes], bytes], left: int
) -> None:
    whole = compress(b"".join(b"<p>%d</p>" % n for n in range(50_000)))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n\r\n".encode()
    # Without a length, the end of the connection is all that ends the body.
    for sent in (whole[:left], whole[:-left]):
        async with raw_server(head, sent) as url, client() as web:
            with pytest.raises(Transient, match="breaks off"):
                await web.fetch(url, kind="page")


async def test_a_compressed_body_without_a_byte_is_empty() -> None:
    assert (await fetched(encoded(b"", "gzip"))).body == b""


async def test_a_body_in_more_codings_than_anybody_needs_is_refused() -> None:
    with pytest.raises(Permanent, match="6 times"):
        await fetched(encoded(b"x", ", ".join(["gzip"] * 6)))


async def test_an_encoding_that_was_not_asked_for_is_named() -> None:
    with pytest.raises(Permanent, match="snappy"):
        await fetched(encoded(b"x", "snappy"))


async def test_a_client_goes_on_after_a_body_it_refused() -> None:
    pages = {"/big": Answer(body=b"x" * 2000), "/": Answer(body=b"ok")}
    async with site(pages) as server, client(max_bytes=1000) as web:
        with pytest.raises(BodyRefused):
            await web.fetch(f"{server.base_url}/big", kind="page")
        assert (await web.fetch(f"{server.base_url}/", kind="page")).body == b"ok"
