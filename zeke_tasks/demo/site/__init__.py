"""A small sample web site, served on loopback: the demo's source, and a server for tests.

``DemoSite`` serves two feeds and their articles, with a page that is busy at first and one that is missing;
``serve_directory`` serves files; ``LoopbackServer`` serves the answers of a function.
"""

from __future__ import annotations

from zeke_tasks.demo.site.files import serve_directory
from zeke_tasks.demo.site.server import Answer, LoopbackServer, Request
from zeke_tasks.demo.site.site import DemoSite

__all__ = ["Answer", "DemoSite", "LoopbackServer", "Request", "serve_directory"]
