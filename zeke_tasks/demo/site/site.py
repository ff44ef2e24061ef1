"""The sample site: two blogs with feeds and articles, rendered for the address at which they are served."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import Self

from zeke_tasks.demo.site.server import Answer, LoopbackServer, Request, with_validator

_MODIFIED = "Thu, 10 Apr 2025 09:30:00 GMT"


@dataclass(frozen=True, slots=True)
class _Page:
    """An article of one of the blogs."""

    blog: str
    slug: str
    title: str
    author: str
    published: str

    @property
    def path(self) -> str:
        return f"/{self.blog}/{self.slug}"


_PAGES = (
    _Page("workbench", "retries-that-behave", "Retries that behave", "Ada Brandt", "2025-03-03T08:00:00Z"),
    _Page("workbench", "a-queue-in-a-table", "A queue in a table", "Ada Brandt", "2025-03-10T08:00:00Z"),
    _Page(
        "workbench", "reading-explain", "Reading EXPLAIN without fear", "Jonas Vetter", "2025-03-17T08:00:00Z"
    ),
    _Page("workbench", "small-modules", "Small modules", "Jonas Vetter", "2025-03-24T08:00:00Z"),
    _Page("workbench", "clocks-lie", "Clocks lie", "Ada Brandt", "2025-03-31T10:00:00+02:00"),
    _Page("workbench", "what-503-means", "What 503 means", "Jonas Vetter", "2025-04-07T08:00:00Z"),
    _Page("workbench", "we-moved", "We moved", "Ada Brandt", "2025-04-08T08:00:00Z"),
    _Page(
        "latent",
        "embeddings-in-plain-words",
        "Embeddings in plain words",
        "Mira Okonjo",
        "2025-03-05T09:30:00Z",
    ),
    _Page("latent", "evaluating-summaries", "Evaluating summaries", "Mira Okonjo", "2025-03-12T09:30:00Z"),
    _Page("latent", "prompts-are-code", "Prompts are code", "Tomasz Reel", "2025-03-19T09:30:00Z"),
    _Page("latent", "small-models", "Small models first", "Tomasz Reel", "2025-03-26T09:30:00Z"),
    _Page("latent", "tokens-and-cost", "Tokens and what they cost", "Mira Okonjo", "2025-04-02T09:30:00Z"),
    # A duplicate from the second feed: the same text under another URL.
    _Page("latent", "retries-that-behave", "Retries that behave", "Ada Brandt", "2025-04-10T09:30:00Z"),
)
_FEEDS = {
    "/workbench/feed.xml": ("workbench.xml", "application/rss+xml; charset=utf-8"),
    "/latent/atom.xml": ("latent.xml", "application/atom+xml"),
}
BUSY_AT_FIRST = "/workbench/what-503-means"
MISSING = "/workbench/gone-for-lunch"


class DemoSite:
    """Serves the sample site on loopback. An async context manager.

    Two feeds (`feed_urls`) name 14 articles, 13 of which are there. One page answers 503 with
    ``Retry-After: 1`` the first time, one is missing, one has a single line of text, and one article is in
    both feeds under two URLs. Feeds and pages have validators.
    """

    def __init__(self) -> None:
        self._server = LoopbackServer(self._answer)
        self._pages = {page.path: page for page in _PAGES}

    async def __aenter__(self) -> Self:
        """Start listening."""
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._server.__aexit__(kind, error, trace)

    @property
    def server(self) -> LoopbackServer:
        """The underlying server, which counts requests and answers."""
        return self._server

    @property
    def base_url(self) -> str:
        """The URL of its root, without a slash at the end."""
        return self._server.base_url

    @property
    def feed_urls(self) -> tuple[str, ...]:
        """The URLs of its feeds."""
        return tuple(self.base_url + path for path in _FEEDS)

    @property
    def page_urls(self) -> tuple[str, ...]:
        """The URLs of the existing articles, without the parameters that a feed adds to one."""
        return tuple(self.base_url + path for path in self._pages)

    async def _answer(self, request: Request) -> Answer:
        if request.path == BUSY_AT_FIRST and request.times == 1:
            return Answer(status=503, body=b"<h1>Not now</h1>", headers=(("Retry-After", "1"),))
        if request.path in _FEEDS:
            name, content_type = _FEEDS[request.path]
            body = self._render("feeds", name)
            return with_validator(request, Answer(body=body.encode(), content_type=content_type), _MODIFIED)
        if request.path in self._pages:
            body = self._article(self._pages[request.path])
            return with_validator(request, Answer(body=body.encode()), _MODIFIED)
        if request.path == "/images/clocks.svg":
            return Answer(body=self._render("clocks.svg").encode(), content_type="image/svg+xml")
        return Answer(status=404, body=b"<h1>There is no such page</h1>")

    def _article(self, page: _Page) -> str:
        return self._render(
            "layouts",
            f"{page.blog}.html",
            body=self._render("articles", f"{page.slug}.html"),
            title=page.title,
            author=page.author,
            published=page.published,
            day=page.published[:10],
            url=self.base_url + page.path,
        )

    def _render(self, *path: str, **values: str) -> str:
        """Return a file of this package with each ``{{name}}`` filled in."""
        text = files("zeke_tasks.demo.site").joinpath(*path).read_text(encoding="utf-8")
        for name, value in {"base": self.base_url, **values}.items():
            text = text.replace(f"{{{{{name}}}}}", value)
        return text
