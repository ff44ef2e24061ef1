"""Feeds from the web, and feeds and pages of our own making with the forms and faults that real ones have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from zeke_tasks.testing.web import feed, page

FEEDS: Final = {
    "davidbau.xml": (15, "davidbau.com"),
    "foolcontrol.xml": (10, "FoolControl: Phear the penguin"),
    "json_feed_sample.json": (2, "Example JSON Feed"),
    "malformed_rss_namespaced.xml": (2, "Test Feed with Namespaced RSS"),
    "osm-pl.xml": (8, "OpenStreetMap Polska"),
    "osm.xml": (20, "Changesets"),
    "postgis.xml": (10, "PostGIS"),
    "stackoverflow.xml": (2, 'Setuptools "development" Requirements - Stack Overflow'),
    "utf16_encoded.xml": (1, "UTF-16 Encoded Feed"),
    "vintagehomeplans.xml": (20, "Vintage Home Plans"),
}
"""The feeds from the web: how many items each has, counted by hand, and its title."""

WRITTEN: Final = {
    "rss.xml": 30,
    "cut-off.xml": 15,
    "lying-prolog.xml": 30,
    "real-utf-16.xml": 30,
    "atom.xml": 1,
    "rdf.xml": 1,
    "feed.json": 1,
}
"""How many items each feed of ``write_samples`` has."""

DAMAGED: Final = {"malformed_rss_namespaced.xml", "osm-pl.xml", "cut-off.xml"}

_ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>Atom</title><id>urn:feed</id>
<entry><id>urn:1</id><title type="html">A &amp;amp; B</title><link href="https://atom.example/1"/>
<updated>2025-03-01T10:00:00Z</updated></entry></feed>"""

_RDF = """<?xml version="1.0" encoding="iso-8859-1"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel rdf:about="https://rdf.example/"><title>Käse</title><link>https://rdf.example/</link></channel>
<item rdf:about="https://rdf.example/1"><title>Grüße</title><link>https://rdf.example/1</link></item>
</rdf:RDF>"""

_JSON = """{"version": "https://jsonfeed.org/version/1.1", "title": "JSON",
"items": [{"id": "1", "url": "https://json.example/1", "title": "One", "content_html": "<p>One</p>"}]}"""


def write_samples(directory: Path) -> None:
    """Write feeds and pages."""
    feeds, pages = directory / "feeds", directory / "pages"
    feeds.mkdir()
    pages.mkdir()
    plain = feed(*((f"Entry {number}", f"https://rss.example/{number}") for number in range(30)))
    (feeds / "rss.xml").write_text(plain, encoding="utf-8")
    (feeds / "cut-off.xml").write_text(plain[: len(plain) // 2], encoding="utf-8")
    (feeds / "lying-prolog.xml").write_text(
        plain.replace('"1.0"?', '"1.0" encoding="utf-16"?'), encoding="utf-8"
    )
    (feeds / "real-utf-16.xml").write_text(
        plain.replace('"1.0"?', '"1.0" encoding="utf-16"?'), encoding="utf-16"
    )
    (feeds / "atom.xml").write_text(_ATOM, encoding="utf-8")
    (feeds / "rdf.xml").write_text(_RDF, encoding="iso-8859-1")
    (feeds / "feed.json").write_text(_JSON, encoding="utf-8")
    for topic in ("bees", "birds", "trees"):
        (pages / f"{topic}.html").write_text(page(topic.title(), topic), encoding="utf-8")
