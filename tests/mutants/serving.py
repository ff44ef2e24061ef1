"""Mutants of the HTTP server: connections, bodies, searches and live figures, with their tests."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Tested, tested

SERVING: Final[tuple[Tested, ...]] = (
    tested(
        "scrape-outlives-the-application",
        "zeke_queue.web.app",
        "    await metrics.close()\n",
        "",
        "A scrape goes on with connections that were closed.",
        "tests/web/test_search_budget.py",
        "-k",
        "scrape_under_way",
    ),
    tested(
        "scrapes-count-each",
        "zeke_queue.web.metrics",
        "self._reading is None or self._reading.done()",
        "True",
        "Each concurrent scrape counts all jobs.",
        "tests/web/test_search_budget.py",
    ),
    tested(
        "slow-chart-hides-the-overview",
        "zeke_queue.web.dashboard.sampler",
        "        with suppress(ReadTimeoutError):\n",
        "        with suppress(ZeroDivisionError):\n",
        "The overview is an error where counting ended jobs takes too long.",
        "tests/web/test_search_budget.py",
    ),
    tested(
        "slow-count-hides-the-metrics",
        "zeke_queue.web.metrics",
        "            with suppress(ReadTimeoutError):\n",
        "            with suppress(ZeroDivisionError):\n",
        "There are no metrics where counting jobs takes too long.",
        "tests/web/test_search_budget.py",
    ),
    tested(
        "unread-answers-keep-their-connections",
        "zeke_queue.web.http_connection",
        " or self.is_stalled",
        "",
        "Clients that do not read their answers keep all others out for a minute.",
        "tests/web/test_connections.py",
    ),
    tested(
        "streams-on-all-connections",
        "zeke_queue.web.server",
        "int(limit * STREAMS_SHARE)",
        "limit",
        "Live streams leave no connection to health checks.",
        "tests/web/test_connections.py",
    ),
    tested(
        "answers-lost-on-clients-that-still-send",
        "zeke_queue.web.http_connection",
        "self.conn.their_state is h11.SEND_BODY and self.phase is not Phase.LINGER",
        "False",
        "A refusal before the end of a body is a broken connection to its client.",
        "tests/web/test_early_answers.py",
        "-k",
        "still_sending",
    ),
    tested(
        "rest-of-a-body-dropped-for-ever",
        "zeke_queue.web.http_connection",
        "min(self._heard + LINGER_TIMEOUT, self._since + LINGER_MAX)",
        "self._heard + LINGER_TIMEOUT",
        "A client that sends without end keeps its connection.",
        "tests/web/test_connections.py",
        "-k",
        "rest_of_an_answered_body",
    ),
    tested(
        "half-sent-bodies-delay-the-stop",
        "zeke_queue.web.http_connection",
        "        elif self.phase is Phase.BODY:\n",
        "        elif False:\n",
        "A client that sends half a body delays each stop of the server by ten seconds.",
        "tests/web/test_connections.py",
        "-k",
        "stop_waits_for_no_client",
    ),
    tested(
        "each-cut-request-logged",
        "zeke_queue.web.server",
        '    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)\n',
        "",
        "The stop of a server logs a traceback for each request that it cuts.",
        "tests/web/test_early_answers.py",
        "-k",
        "not_logged",
    ),
)
