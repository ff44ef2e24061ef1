"""Fetching of users' URLs, and parsing of the feeds and articles found there.

``WebClient.fetch`` returns bytes and never parses; ``parse_feed`` and ``extract_article`` parse and never
fetch. They are plain functions that take milliseconds: `zeke_tasks.fetch.parser_pool` calls them in
processes, since they would block the event loop and are not thread-safe.
"""

from __future__ import annotations

from zeke_tasks.fetch.articles import Article, content_hash, extract_article
from zeke_tasks.fetch.client import Fetched, Fetcher, Kind, WebClient, WebOptions
from zeke_tasks.fetch.entries import Entry, Feed
from zeke_tasks.fetch.errors import (
    AddressRefused,
    BodyRefused,
    FeedError,
    PageError,
    Permanent,
    TooExpensiveDocument,
    Transient,
    UrlRefused,
    WebError,
)
from zeke_tasks.fetch.feeds import parse_feed
from zeke_tasks.fetch.urls import canonicalise_url

__all__ = [
    "AddressRefused",
    "Article",
    "BodyRefused",
    "Entry",
    "Feed",
    "FeedError",
    "Fetched",
    "Fetcher",
    "Kind",
    "PageError",
    "Permanent",
    "TooExpensiveDocument",
    "Transient",
    "UrlRefused",
    "WebClient",
    "WebError",
    "WebOptions",
    "canonicalise_url",
    "content_hash",
    "extract_article",
    "parse_feed",
]
