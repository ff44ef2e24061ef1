"""Live status: streams of server-sent events, which share their reads of the storage.

``endpoint`` answers requests with streams and keeps their limits, ``job_events`` and ``page_events`` are
their sources, ``stream`` sends to one client, ``frames`` has the bytes.
"""

from zeke_queue.web.sse.endpoint import EventStreams
from zeke_queue.web.sse.page_events import ServerEvent

__all__ = ["EventStreams", "ServerEvent"]
