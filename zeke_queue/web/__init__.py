"""The HTTP API: REST, live status, tRPC and a dashboard, over an open queue. Needs the extra ``web``.

``app`` composes the application, ``server`` runs it in a process, with ``acceptor`` and ``http_connection``,
which limit connections; ``settings`` configures it. ``access``
authenticates and authorises callers, ``middleware`` checks origins and sets headers, ``errors`` turns
errors into answers. ``api`` is what routes work with: ``triggers`` sends within limits, ``inspect`` reads
and ``admin`` changes what several interfaces show, ``presenter`` turns jobs and schedules into answers
without what their tasks hide. ``search_budget`` limits what they read at once. ``request_bodies`` and
``ids`` are what clients send. ``rest``, ``trpc``, ``sse`` and ``dashboard`` are the four interfaces;
``document`` and ``metrics`` serve OpenAPI and figures, and ``extension`` is what other packages add,
by ``entry_points``.
"""

from __future__ import annotations

from zeke_queue.storage.access import Scope
from zeke_queue.web.access.guard import Authenticator, Caller
from zeke_queue.web.app import close_app, create_app
from zeke_queue.web.errors import ApiError
from zeke_queue.web.extension import Extension
from zeke_queue.web.settings import WebSettings
from zeke_queue.web.triggers import send_job

__all__ = [
    "ApiError",
    "Authenticator",
    "Caller",
    "Extension",
    "Scope",
    "WebSettings",
    "close_app",
    "create_app",
    "send_job",
]
