"""An AI of which 40 % of the answers are faulty, behind two servers that have no code in common.

What is wrong with an answer follows from a seed, the story, and how often the story was asked about, and not
from the order in which requests arrive.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any, Final, NamedTuple

from tests.tasks.ai.server import Asked, OpenAIServer, Said, error, response

FAULTY: Final = 0.4

BRIEF: Final = {
    "one_liner": "{} dance.",
    "two_liner": "{} dance. It tells the others where the flowers are, and how far it is to get there.",
    "elevator": "{} dance. It tells others where flowers are. Watch them. Others follow.",
}

FAULTS: Final = (
    "too many requests",
    "server error",
    "cut body",
    "cut answer",
    "page",
    "no UTF-8",
    "no output",
    "closed connection",
    "silence",
    "fence",
    "short two_liner",
)


class Delivered(NamedTuple):
    """A variant of a story's brief that a readable answer has delivered as requested."""

    story: str
    variant: str


class FaultyAI:
    """The AI; both servers pass it the body of a request.

    Attributes:
        faults: how often each fault occurred; ``""`` for answers without one.
        again: variants that were requested although they had been delivered.
    """

    def __init__(self, seed: int, names: tuple[str, ...]) -> None:
        self.faults: Counter[str] = Counter()
        self.again: list[Delivered] = []
        self._seed = seed
        self._names = names
        self._requests: Counter[str] = Counter()
        self._delivered: set[Delivered] = set()

    def answer(self, body: Mapping[str, Any]) -> Said:
        """Return the answer to a request, or a faulty one."""
        story = next(name for name in self._names if name in body["input"])
        wanted = tuple(body["text"]["format"]["schema"]["properties"])
        self.again += [one for name in wanted if (one := Delivered(story, name)) in self._delivered]
        fault = self._fault(story)
        variants = {name: BRIEF[name].format(story) for name in wanted}
        if fault in {"", "fence", "short two_liner"}:
            delivered = [name for name in wanted if (fault, name) != ("short two_liner", "two_liner")]
            self._delivered |= {Delivered(story, name) for name in delivered}
        return _said(fault, variants)

    def _fault(self, story: str) -> str:
        self._requests[story] += 1
        number = self._requests[story]
        drawn = sha256(f"{self._seed} {story} {number}".encode()).digest()[0]
        # The kinds take turns, so that few stories meet all.
        kind = FAULTS[(self._names.index(story) + number) % len(FAULTS)]
        fault = kind if drawn < FAULTY * 256 else ""
        if fault == "silence" and self.faults[fault]:
            fault = "server error"  # One time-out is waited for, since it takes real time.
        self.faults[fault] += 1
        return fault


def _said(fault: str, variants: dict[str, str]) -> Said:
    text = json.dumps(variants)
    good = response(text)
    whole = json.dumps(good.body).encode()
    short = {"two_liner": "They dance."} if "two_liner" in variants else {}
    faults = {
        "": good,
        "too many requests": error(429, retry_after="2"),
        "server error": error(500),
        "cut body": Said(body=whole[: len(whole) // 2]),
        "cut answer": response(text[: len(text) // 2]),
        "page": Said(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
        "no UTF-8": Said(body=whole.replace(b"dance", b"d\xe4nce")),
        "no output": response(output=[]),
        "closed connection": Said(drop=True),
        "silence": Said(hang=True),
        "fence": response(f"Here you are:\n\n```json\n{text}\n```\nAnything else?"),
        "short two_liner": response(json.dumps({**variants, **short})),
    }
    return faults[fault]


@asynccontextmanager
async def over_streams(ai: FaultyAI) -> AsyncGenerator[str]:
    """Serve an AI by streams of asyncio; gives the URL of the API."""

    def answer(asked: Asked) -> Said:
        return ai.answer(asked.body)

    async with OpenAIServer(answer=answer) as server:
        yield server.base_url


class _Server(ThreadingHTTPServer):
    """A server of the standard library that answers in chunks, as plain text and without usage."""

    def __init__(self, ai: FaultyAI) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ai = ai
        self.one_by_one = Lock()
        self.stopping = Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.one_by_one:
            said = self.server.ai.answer(body)
        self.close_connection = True
        if said.hang:
            self.server.stopping.wait()
            return
        self.send_response(said.status)
        headers = {"Content-Type": "text/plain", "Transfer-Encoding": "chunked", **said.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        whole = said.body
        if not isinstance(whole, bytes):
            whole = json.dumps({**whole, "usage": None}).encode()
        for chunk in (whole[:10], whole[10:]):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            if said.drop:
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Print no line per request."""


@asynccontextmanager
async def over_threads(ai: FaultyAI) -> AsyncGenerator[str]:
    """Serve an AI by threads of the standard library; gives the URL of the API."""
    with _Server(ai) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.stopping.set()
            await asyncio.to_thread(server.shutdown)
            thread.join()
