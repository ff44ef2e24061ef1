"""The sign-in link of ``zeke up`` and ``zeke api``, as Jupyter prints one."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from zeke_queue.cli.render import echo
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from zeke_queue.client.queue import Queue
    from zeke_queue.web.server import ApiServer

_LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
"""The address of this machine at which a server on all addresses listens too."""


async def offer_sign_in(queue: Queue, server: ApiServer, *, again: bool, make_key: str) -> None:
    """Create the first key if no key was ever stored, and print a sign-in link for it.

    If the storage is unavailable or a row is locked, this is logged: the server works without a link.

    On a terminal the key is printed too. Elsewhere output is often collected and stored, so only the link is
    shown, which soon expires: as a warning, or, if warnings are not logged, on standard error, so that no
    first key is created without a message.

    Args:
        again: whether to print a link also if the first key was used already.
        make_key: the command to create a key.
    """
    try:
        await _offer(queue, server, again=again, make_key=make_key)
    except StorageUnavailableError as error:
        get_logger().warning("sign_in_link_failed", error=str(error), hint=make_key)


async def _offer(queue: Queue, server: ApiServer, *, again: bool, make_key: str) -> None:
    from zeke_queue.web.access.first_key import FIRST_NAME, LINK_SECONDS, first_sign_in

    offered = await first_sign_in(queue, again=again) if server.settings.api_dashboard else None
    if offered is None:
        if not await parts_of(queue).storage.access.has_keys():
            get_logger().warning("no_api_keys", consequence="all requests are refused", hint=make_key)
        return
    url = link(server.url, offered.token)
    if not sys.stderr.isatty() and (logger := get_logger()).is_enabled_for(logging.WARNING):
        logger.warning("sign_in_link", url=url, key=FIRST_NAME, seconds=LINK_SECONDS, hint=make_key)
        return
    echo(f"\nSign in (once, within {LINK_SECONDS // 60:g} minutes):\n\n    {url}\n", err=True)
    if offered.key is not None and sys.stderr.isatty():
        echo(f"Its API key ({FIRST_NAME}, jobs.admin) is shown only now:\n\n    {offered.key}\n", err=True)


def link(server: str, token: str) -> str:
    """Return a sign-in link to a server, for a browser on its machine if the server listens there.

    It does not name localhost, which has two addresses: at the other one, another user of this machine may
    wait for the token.
    """
    parts = urlsplit(server)
    host = _LOCAL.get(parts.hostname or "", parts.netloc.rpartition(":")[0])
    return f"{parts.scheme}://{host}:{parts.port}/dashboard/sign-in?{urlencode({'token': token})}"
