"""Untrusted texts, such as names, errors and log fields, never control the terminal: in no command."""

from __future__ import annotations

import json
import logging
from io import StringIO
from typing import Any, Final

import pytest
from rich.table import Table
from rich.text import Text

from tests.cases import check_each
from tests.cli.conftest import Zeke
from tests.clocks import FrozenClock
from zeke_queue.cli.app import app
from zeke_queue.cli.render import SafeConsole
from zeke_queue.system import logging as log
from zeke_queue.system.terminal import escaped, harmless

EVIL: Final = (
    "\x1b]0;pwned\x07\x1b[31m[bold red]M[/bold red][link=http://evil]x[/link]\u202egnp.exe\r\nline2\x9b31m"
    "\u2028\U000e0041"
)
ID: Final = "0190163d-8694-739b-aea5-966c26f8ad91"

SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "jobs": ("jobs",),
    "jobs of a status": ("jobs", "--status", "failed"),
    "job": ("job", ID),
    "job show": ("job", "show", ID),
    "job cancel": ("job", "cancel", ID),
    "job resume": ("job", "resume", ID),
    "job retry": ("job", "retry", ID),
    "queues": ("queues",),
    "queue pause": ("queue", "pause", f"q{EVIL}"),
    "queue resume": ("queue", "resume", f"q{EVIL}"),
    "schedules": ("schedules",),
    "schedule pause": ("schedule", "pause", f"s{EVIL}"),
    "schedule resume": ("schedule", "resume", f"s{EVIL}"),
    "schedule rm": ("schedule", "rm", f"s{EVIL}"),
    "doctor": ("doctor",),
    "keys list": ("keys", "list"),
    "keys revoke": ("keys", "revoke", "mid_"),
    "keys create": ("keys", "create", EVIL),
    "send": ("send", EVIL, "--app", EVIL),
    "worker": ("worker", "--app", EVIL),
    "migrate": ("migrate",),
}
"""Commands of the queue that print what is stored or given."""

OTHERS: Final = frozenset({"api", "import-pgboss", "up"})
"""They print log lines only, or need the tables of another pg-boss (tests/cli/test_import_pgboss.py)."""


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    """A database in which every text has control characters."""
    error = {"type": EVIL, "message": EVIL, "traceback": EVIL}
    attempt = {"attempt": 1, "at": "2026-01-01T00:00:00+00:00", "state": "failed", "error": error}
    zeke_alone.sql(
        "insert into pgboss.job (id, name, state, completedon, data, output, singletonkey, attempt, history)"
        " values (%s, %s, 'failed', now(), %s, %s, %s, 1, %s)",
        *(ID, f"n{EVIL}", json.dumps({f"k{EVIL}": EVIL}), json.dumps({**error, EVIL: EVIL}), f"s{EVIL}"),
        json.dumps([{**attempt, "worker": None}]),
    )
    for kind, data in (
        ("log", {"level": f"info{EVIL}", "message": EVIL, f"f{EVIL}": EVIL}),
        ("progress", {"value": 0.5, "message": EVIL}),
    ):
        zeke_alone.sql(
            "insert into pgboss.job_event (job_id, attempt, kind, data, at) values (%s, 1, %s, %s, now())",
            *(ID, kind, json.dumps(data)),
        )
    zeke_alone.sql(
        "insert into pgboss.schedule (name, cron, description, timezone) values (%s, %s, %s, %s)",
        *(f"s{EVIL}", f"* * * * *{EVIL}", EVIL, f"UTC{EVIL}"),
    )
    zeke_alone.sql("insert into pgboss.queue values (%s, 3, null)", f"q{EVIL}")
    zeke_alone.sql(
        "insert into pgboss.worker (id, host, pid, queues, lease, started_on, beat_on)"
        " values (gen_random_uuid(), %s, 1, array[%s], '15 s', now(), now() - interval '1 hour')",
        *(f"h{EVIL}", f"q{EVIL}"),
    )
    for prefix in ("mid_0000000a", "mid_0000000b"):
        zeke_alone.sql(
            "insert into pgboss.api_key (id, name, prefix, digest, scopes, created_on)"
            " values (gen_random_uuid(), %s, %s, %s, '{jobs.read}', now())",
            *(EVIL, prefix, prefix.encode()),
        )
    return zeke_alone


def left(text: str) -> list[str]:
    """Return the unprintable characters of an output, besides the ends of its lines."""
    return [char for char in text if not char.isprintable() and char != "\n"]


@pytest.mark.nightly
def test_no_command_prints_control_characters_of_others(zeke: Zeke) -> None:
    def check(*command: str) -> None:
        for more in ((), ("--json",)):
            result = zeke(*command, *more)
            assert result.exception is None or isinstance(result.exception, SystemExit)
            assert left(result.output) == []
            assert left(result.stderr) == []

    check_each(SHOWN, check)


def test_every_command_of_the_queue_is_tried() -> None:
    commands: set[str] = set()
    for command in app.registered_commands:
        assert command.callback is not None
        commands.add(command.name or command.callback.__name__)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        commands |= {f"{group.name} {one.name}" for one in group.typer_instance.registered_commands}
    assert commands - OTHERS <= {*SHOWN}


def test_console_keeps_its_own_colours_alone() -> None:
    out = StringIO()
    console = SafeConsole(file=out, force_terminal=True, color_system="standard", width=200)
    table = Table(title=Text(EVIL))
    table.add_column(Text(EVIL))
    table.add_row(Text(EVIL, style="red"))
    console.print(table)
    console.print(Text.assemble((EVIL, "bold")), soft_wrap=True)
    shown = out.getvalue()
    assert "\x1b[31m" in shown
    assert set(left(shown)) == {"\x1b"}
    for sequence in ("\x1b]", "\x1b[31m[bold red]"):
        assert sequence not in shown


class _Odd:
    def __repr__(self) -> str:
        return EVIL


def raise_evil() -> None:
    raise LookupError(EVIL)


def test_log_lines_hold_no_control_characters_of_others() -> None:
    def check(form: Any) -> None:
        stream = StringIO()
        log.configure_logging(form, stream=stream, clock=FrozenClock())
        try:
            raise_evil()
        except LookupError:
            log.get_logger(taskId=EVIL).exception(EVIL, **{f"f{EVIL}": EVIL, "odd": _Odd(), "b": [EVIL]})
        log.get_logger().info("stack", stack=EVIL, exception=EVIL)
        logging.getLogger(f"driver{EVIL}").warning("%s", EVIL)
        assert {*left(stream.getvalue())} <= ({"\t"} if form == "text" else set())
        assert "pwned" in stream.getvalue()

    check_each(["text", "json"], check)


def test_escaped_json_has_the_same_value() -> None:
    value = {EVIL: [EVIL, "ä\u200d€😀\x7f"]}
    for indent in (None, 2):
        text = escaped(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert left(text) == []
    assert harmless("a\u200db\tc", "\u200d") == "a\u200db·c"


def test_text_of_any_language_is_shown_as_it_is() -> None:
    """The spaces of French and Japanese, private characters, and those that are newer than this Python."""
    text = "Ann\u00e9e\u00a0: 25\u202f%, \u65e5\u672c\u3000\u8a9e, \ue0b0, \U0003fffd"
    assert harmless(text) == text
    assert escaped(text) == text
    assert harmless("a\u2028b\u202ec\ud800d\x9b") == "a·b·c·d·"
