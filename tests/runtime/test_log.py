"""Log lines: JSON for machines, text on a terminal; an unconfigured library changes no logging."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
import structlog

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.runtime.catalogs import nothing
from tests.runtime.odd_values import Unprintable, Unwritable
from tests.runtime.workers.place import Place
from zeke_queue.errors import InvalidOptionError
from zeke_queue.system import logging as log
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Snooze

ID = UUID("0193aaaa-0000-7000-8000-000000000001")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    setup, structlogs, root = log._current[0], structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)}
    yield
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    log._current[0] = setup
    structlog.configure(**structlogs)
    root.handlers, root.level = handlers, level


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def gone() -> None:
    raise LookupError("gone")


def configured(format_: Any = "json", level: str = "info", stream: StringIO | None = None) -> StringIO:
    stream = stream or StringIO()
    log.configure_logging(format_, level, stream=stream, clock=FrozenClock())
    return stream


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_one_json_object_that_begins_with_time_level_and_message() -> None:
    stream = configured()
    log.get_logger(jobId=ID, extra=1).info("job_started", taskId="mail", when=FrozenClock().now())
    assert stream.getvalue() == (
        '{"timestamp":"2026-01-05T12:00:00.000Z","level":"info","message":"job_started","taskId":"mail",'
        f'"jobId":"{ID}","extra":1,"when":"2026-01-05T12:00:00Z"}}\n'
    )


def test_field_without_json_form_is_written_as_text() -> None:
    stream = configured()
    log.get_logger().info("odd\nline", thing=object(), number=float("nan"))
    (line,) = lines(stream)
    assert line["message"] == "odd\nline"
    assert line["number"] == "NaN"
    assert "object" in str(line["thing"])


ODD: dict[str, dict[str, Any]] = {
    "repr": {"v": Unprintable()},
    "model": {"v": Unwritable()},
    "half": {"v": "\ud800"},
    "bytes": {"v": b"\xff"},
    "long": {"v": 10**5000},
    "name": {"\ud800": 1},
}


def test_unwritable_field_raises_no_error() -> None:
    """A file name of bytes that are no text is enough, and a job must not fail because of a log line."""

    def check(format_: str, odd: dict[str, Any]) -> None:
        stream = configured(format_)
        log.get_logger().info("odd", n=1, **odd)
        assert "odd" in stream.getvalue()
        log.get_logger().info("\ud800 begins it")
        assert "begins it" in stream.getvalue()

    formats = ("json", "text")
    check_each({f"{name} as {form}": (form, odd) for name, odd in ODD.items() for form in formats}, check)


def test_exception_is_one_field_of_its_line() -> None:
    stream = configured()
    try:
        gone()
    except LookupError:
        log.get_logger().exception("failed")
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert "LookupError: gone" in line["exception"]


def test_lines_below_the_level_are_not_written() -> None:
    stream = configured(level="warning")
    logger = log.get_logger()
    logger.info("quiet")
    logger.warning("loud")
    assert [line["message"] for line in lines(stream)] == ["loud"]
    assert not log.enabled("info")
    assert log.enabled("warning")


def test_auto_writes_text_to_a_terminal_and_json_elsewhere() -> None:
    terminal = configured("auto", stream=Terminal())
    log.get_logger().info("hello", n=1)
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    piped = configured("auto")
    log.get_logger().info("hello", n=1)
    assert lines(piped)[0]["n"] == 1


def test_text_without_a_terminal_has_no_colours() -> None:
    stream = configured("text")
    log.get_logger().info("hello", n=1)
    assert "hello" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_structlog_and_logging_lines_of_the_application_look_the_same() -> None:
    stream = configured()
    structlog.get_logger().info("from structlog", a=1)
    logging.getLogger("app.part").warning("from %s at %d%%", "logging", 100)
    try:
        gone()
    except LookupError:
        logging.getLogger("app").exception("broke")
    first, second, third = lines(stream)
    assert (first["message"], first["a"]) == ("from structlog", 1)
    expected = ("from logging at 100%", "warning", "app.part")
    assert (second["message"], second["level"], second["logger"]) == expected
    assert "LookupError: gone" in third["exception"]


def test_configuring_twice_writes_once() -> None:
    configured()
    stream = configured()
    logging.getLogger("x").warning("once")
    assert len(lines(stream)) == 1


def test_lines_of_http_clients_are_dropped_below_warning() -> None:
    def check(level: str, library: str) -> None:
        stream = configured(level=level)
        client = logging.getLogger(library)
        client.setLevel(logging.DEBUG)
        client.debug("GET https://a.example/?key=hunter2")
        client.info("HTTP Request: GET https://a.example/?key=hunter2")
        client.warning("the connection broke")
        logging.getLogger("httpxyz").info("another's")
        assert [line["message"] for line in lines(stream)] == ["the connection broke", "another's"]

    libraries = ["httpx", "httpx2", "httpcore", "httpcore2", "httpcore2.connection", "openai", "urllib3.pool"]
    check_each([(level, library) for level in ("debug", "info") for library in libraries], check)


def test_unconfigured_library_writes_warnings_only_and_changes_no_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = structlog.get_config(), list(logging.getLogger().handlers)
    logger = log.get_logger()
    logger.info("quiet")
    logger.warning("loud")
    assert json.loads(capsys.readouterr().err)["message"] == "loud"
    assert (structlog.get_config(), list(logging.getLogger().handlers)) == before


def test_closed_stream_raises_no_error() -> None:
    stream = configured()
    logger = log.get_logger()
    stream.close()
    logger.info("nobody hears")


def test_unknown_format_or_level_is_refused() -> None:
    def check(format_: Any, level: str) -> None:
        with pytest.raises(InvalidOptionError, match=r"^(format|level): must be .*, got "):
            log.configure_logging(format_, level)

    check_each([("xml", "info"), ("json", "loud")], check)


def test_settings_can_be_passed_to_a_child_process() -> None:
    configured("text", "error")
    assert log.settings() == {"format": "text", "level": "error"}


def test_lines_of_a_handler_are_kept_from_info_on_at_every_level() -> None:
    def check(level: str, written: list[str]) -> None:
        stream = configured(level=level)
        seen: list[tuple[str, str, Mapping[str, Any]]] = []
        logger = log.job_logger(lambda *line: seen.append(line), taskId="mail", jobId=str(ID))
        logger.debug("a")
        logger.info("b", n=1)
        logger.bind(part="x").warning("c")
        assert [line["message"] for line in lines(stream)] == written
        assert seen == [("info", "b", {"n": 1}), ("warning", "c", {"part": "x"})]
        assert all(line["jobId"] == str(ID) for line in lines(stream))

    check_each([("debug", ["a", "b", "c"]), ("info", ["b", "c"]), ("error", [])], check)


# Lines of the worker


def told(stream: StringIO, message: str, *fields: str) -> list[dict[str, Any]]:
    return [{f: line.get(f) for f in fields} for line in lines(stream) if line["message"] == message]


async def test_worker_logs_its_tasks_and_each_job(place: Place) -> None:
    stream = configured()

    work = place.catalog.task("work", aliases=["labour"])(nothing)
    job = await place.run_one(work)
    expected = [{"tasks": ["work"], "queues": ["work", "labour"], "concurrency": 10}]
    assert told(stream, "worker_started", "tasks", "queues", "concurrency") == expected
    expected = {"taskId": "work", "jobId": str(job.id), "attempt": 1}
    assert told(stream, "job_started", *expected) == [expected]
    assert told(stream, "job_completed", *expected, "durationMs") == [{**expected, "durationMs": 0.0}]
    assert len(told(stream, "worker_stopped")) == 1


async def test_failure_is_logged_with_the_time_of_the_retry(place: Place) -> None:
    stream = configured(level="warning")

    @place.catalog.task("boom", retry_limit=1, retry_delay=7, retry_backoff=False)
    async def boom() -> None:
        raise LookupError("gone")

    await place.run_one(boom)
    place.clock.advance(7)
    await place.drain()
    error = {"type": "LookupError", "message": "gone"}
    assert told(stream, "job_failed", "level", "willRetry", "retryIn", "error") == [
        {"level": "warning", "willRetry": True, "retryIn": 7.0, "error": error},
        {"level": "error", "willRetry": False, "retryIn": None, "error": error},
    ]
    assert all("LookupError: gone" in one["exception"] for one in told(stream, "job_failed", "exception"))
    assert told(stream, "job_started") == []


def snooze() -> None:
    raise Snooze(9)


def never() -> None:
    raise Fail("closed")


async def test_signals_of_handlers_are_logged() -> None:
    async def check(handler: Callable[[], None], message: str) -> None:
        stream = configured()
        place = Place()
        await place.run_one(place.catalog.task("work")(handler))
        assert len(told(stream, message)) == 1

    await check_each_async([(snooze, "job_snoozed"), (never, "job_failed")], check)


async def test_lines_of_a_handler_name_its_job(place: Place) -> None:
    stream = configured()

    @place.catalog.task("work")
    async def work(job: JobContext) -> None:
        job.logger.info("half way", done=3)

    job = await place.run_one(work)
    expected = [{"taskId": "work", "jobId": str(job.id), "attempt": 1, "done": 3}]
    assert told(stream, "half way", "taskId", "jobId", "attempt", "done") == expected


def test_silenced_runtime_writes_nothing_until_the_block_ends() -> None:
    stream = configured()
    with log.silenced():
        log.get_logger().error("unheard")
        assert not log.enabled("error")
    log.get_logger().error("heard")
    assert [line["message"] for line in map(json.loads, stream.getvalue().splitlines())] == ["heard"]
    assert log.enabled("error")
