"""Shows virtual time to code that reads the machine's clocks, as with ``datetime.now()`` or ``time.time()``.

freezegun replaces the clocks in every module that uses them. This takes most of a second, so the first world
that needs it does it once per process, permanently. Each call of a replacement decides here which time it
returns: virtual time if the calling thread runs a world, otherwise the machine's, so that code after a
simulation sees real clocks. There must be no second clock beside the virtual one: ``refuse_frozen`` refuses a
time that freezegun or time-machine has set before, and code that runs in virtual time cannot start either.
A test's own lines between its calls can: there, the latest freeze wins. Private parts of freezegun are used,
checked with freezegun 1.5.5 and time-machine 3.6.0.
"""

from __future__ import annotations

import copyreg
import functools
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from zeke_queue.errors import UsageError
from zeke_queue.system.install_hints import install
from zeke_sim.errors import SimulationError
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import RUN_QUEUE
from zeke_sim.world import sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import datetime, tzinfo

    from zeke_sim.world.world import World


class Times(Protocol):
    """A source of time: the part of ``zeke_queue.system.clock.Clock`` that is needed here."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        ...


MACHINERY: Final = (
    "_pytest.",
    "asyncio.",
    "concurrent.",
    "execnet.",
    "hypothesis.",
    "logging",
    "multiprocessing",
    "pluggy.",
    "psycopg",
    "pytest_",
    "queue",
    "selectors",
    "threading",
    "xdist.",
)
"""Prefixes of modules that measure time for themselves, not for the application."""


class _Shown:
    """The time that clocks return: virtual in one thread, the machine's in others."""

    def __init__(self) -> None:
        self.times: Times | None = None
        self.thread = 0
        self.installed = False
        self.stacks: list[tuple[list[Any], Any]] = []
        """freezegun's stacks of frozen times, the latest on top, each with this module's entry."""

    @property
    def by_another(self) -> bool:
        """Whether the latest freeze is not this module's."""
        factories, ours = self.stacks[0]
        return factories[-1] is not ours

    def virtual(self) -> Times | None:
        """Return the caller's source of virtual time; None for the machine's time."""
        return self.times if self.times is not None and self.thread == threading.get_ident() else None


_shown: Final = _Shown()


@contextmanager
def showing(times: Times) -> Generator[None]:
    """Show virtual time to the calling thread within the block.

    Raises:
        SimulationError: freezegun is not installed.
    """
    _install()
    _guard_time_machine()
    before = _shown.times, _shown.thread
    _shown.times, _shown.thread = times, threading.get_ident()
    for stack, entry in _shown.stacks:
        stack.append(entry)
    try:
        yield
    finally:
        _shown.times, _shown.thread = before
        factories, _ = _shown.stacks[0]
        ours = len(factories) - 1 - factories[::-1].index(_naive)
        for stack, _ in _shown.stacks:
            del stack[ours]


def refuse_frozen(instead: str) -> None:
    """Raise an error if freezegun or time-machine shows another time than the virtual one.

    Args:
        instead: what to use instead, with ``{start}`` for the time that they show.

    Raises:
        UsageError: a block or a decorator of either is active.
    """
    api: Any = sys.modules.get("freezegun.api")
    frozen = [one for one in getattr(api, "freeze_factories", ()) if one is not _naive]
    hatch = getattr(sys.modules.get("time_machine"), "escape_hatch", None)
    if frozen:
        which, start = "freezegun", f"{frozen[-1].time_to_freeze.isoformat()}+00:00"
    elif hatch is not None and hatch.is_travelling():
        real: Any = sys.modules["datetime"].datetime if api is None else api.real_datetime
        which, start = "time-machine", real.now(UTC).isoformat()
    else:
        return
    raise UsageError(
        f"{which}: must not set the time of a test whose time is virtual, since there would be two clocks, "
        f"got {start}; {instead.format(start=start)}"
    )


class WorldTimes:
    """The times of a world: those of the calling node's clocks, which may be wrong; else the true time."""

    def __init__(self, world: World) -> None:
        self._nodes = world.nodes
        self._true = VirtualClock(world.loop, world.epoch)

    def _clock(self) -> VirtualClock:
        run_queue = RUN_QUEUE.get()
        node = None if run_queue is None else self._nodes.get(run_queue.name)
        return self._true if node is None else node.clock

    def now(self) -> datetime:
        """Return the wall clock's time."""
        return self._clock().now()

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return self._clock().monotonic()


def _install() -> None:
    if _shown.installed:
        return
    try:
        import freezegun  # noqa: PLC0415 - rarely needed
        from freezegun import api  # noqa: PLC0415
    except ImportError:
        raise SimulationError(
            f"freeze: for handlers to see virtual time freezegun is needed: {install('sim')}, or say"
            " freeze=False if none of them reads a clock"
        ) from None
    patched = cast("Any", api)
    freezegun.freeze_time(patched.real_datetime(2026, 1, 1), real_asyncio=True).start()
    _shown.stacks = [
        (patched.freeze_factories, _naive),
        (patched.tz_offsets, timedelta(0)),
        (patched.ignore_lists, ()),
        (patched.tick_flags, False),
    ]
    for stack, entry in _shown.stacks:
        # An earlier freeze removes the topmost entry when it ends.
        del stack[-1]
        stack.insert(0, entry)
    _guard(patched._freeze_time, "freezegun.freeze_time()", sandbox.is_inside)
    _keep_folds(patched)
    _let_through_functions(patched)
    _let_through_classes(patched)
    _let_pydantic_know(patched)
    _shown.installed = True


def _guard(owner: Any, call: str, is_refused: Callable[[], bool]) -> None:
    """Make a class's ``start`` refuse callers in virtual time."""
    start = owner.start

    @functools.wraps(start)
    def guarded(self: Any) -> Any:
        if _shown.virtual() is not None and is_refused():
            raise sandbox.second_clock(call)
        return start(self)

    owner.start = guarded


def _guard_time_machine() -> None:
    """Refuse time-machine, which cannot start beside freezegun anyway, with instructions."""
    travel = getattr(sys.modules.get("time_machine"), "travel", None)
    if travel is not None and not hasattr(travel.start, "__wrapped__"):
        _guard(travel, "time_machine.travel()", lambda: True)


def _naive() -> datetime:
    """Return virtual time in freezegun's format: naive, in UTC."""
    times = _shown.virtual()
    if times is None:
        raise SimulationError("nothing is shown")  # callers check is_real first
    return times.now().replace(tzinfo=None)


def _let_through_functions(patched: Any) -> None:
    """Make freezegun's functions choose between virtual and real time at each call."""
    by_theirs, theirs, theirs_ns = (
        patched._should_use_real_time,
        patched._get_fake_monotonic,
        patched._get_fake_monotonic_ns,
    )

    def is_real() -> bool:
        """Return whether the caller of a replacement sees the machine's time."""
        if _shown.by_another:
            return by_theirs()
        if _shown.virtual() is None:
            return True
        # Frame 0 is this function, 1 the replacement, 2 its caller.
        name = sys._getframe(2).f_globals.get("__name__", "")  # pyright: ignore[reportPrivateUsage]
        return str(name).startswith(MACHINERY)

    def monotonic() -> float:
        times = _shown.virtual()
        if _shown.by_another or times is None:
            return theirs()
        return times.monotonic()

    def monotonic_ns() -> int:
        return theirs_ns() if _shown.by_another else int(monotonic() * 1e9)

    patched._should_use_real_time = is_real
    patched._get_fake_monotonic = monotonic
    patched._get_fake_monotonic_ns = monotonic_ns


def _keep_folds(patched: Any) -> None:
    """Keep ``fold`` in freezegun's classes; it distinguishes the repeated hour when summer time ends."""
    fake = patched.FakeDatetime

    def to_fake(real: datetime) -> Any:
        return fake(
            real.year,
            real.month,
            real.day,
            real.hour,
            real.minute,
            real.second,
            real.microsecond,
            real.tzinfo,
            fold=real.fold,
        )

    def as_pickled(real: datetime) -> Any:
        return _unpickled, (real.replace(fold=0, tzinfo=None).isoformat(), real.tzinfo, real.fold)

    patched.datetime_to_fakedatetime = to_fake
    copyreg.dispatch_table[patched.real_datetime] = as_pickled
    copyreg.dispatch_table[fake] = as_pickled


def _unpickled(text: str, zone: tzinfo | None, fold: int) -> datetime:
    import datetime as dt  # noqa: PLC0415 - the replaced class

    return dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _let_through_classes(patched: Any) -> None:
    """Make freezegun's classes behave like the real ones outside of a world, in the local zone too."""
    fake_datetime, fake_date = patched.FakeDatetime, patched.FakeDate
    real, real_date = patched.real_datetime, patched.real_date
    to_fake, to_fake_date = patched.datetime_to_fakedatetime, patched.date_to_fakedate
    is_real = patched._should_use_real_time
    frozen: dict[str, Callable[..., Any]] = {
        name: getattr(fake_datetime, name).__func__ for name in ("now", "today", "utcnow", "fromtimestamp")
    }
    frozen_date, frozen_timestamp = fake_date.today.__func__, fake_datetime.timestamp

    def now(cls: Any, tz: tzinfo | None = None) -> Any:
        if is_real():
            return to_fake(real.now(tz))
        if tz is None or _shown.by_another:
            return frozen["now"](cls, tz)
        # Convert by the zone itself, since adding an offset loses `fold`.
        return to_fake(tz.fromutc(_naive().replace(tzinfo=tz)))

    def today(cls: Any) -> Any:
        return to_fake(real.today()) if is_real() else frozen["today"](cls)

    def utcnow(cls: Any) -> Any:
        return to_fake(real.utcnow()) if is_real() else frozen["utcnow"](cls)

    def fromtimestamp(cls: Any, t: float, tz: tzinfo | None = None) -> Any:
        return to_fake(real.fromtimestamp(t, tz)) if is_real() else frozen["fromtimestamp"](cls, t, tz)

    def timestamp(self: Any) -> float:
        return real.timestamp(self) if is_real() else frozen_timestamp(self)

    def date_today(cls: Any) -> Any:
        return to_fake_date(real_date.today()) if is_real() else frozen_date(cls)

    fake_datetime.now, fake_datetime.today = classmethod(now), classmethod(today)
    fake_datetime.utcnow, fake_datetime.fromtimestamp = classmethod(utcnow), classmethod(fromtimestamp)
    fake_datetime.timestamp = timestamp
    fake_date.today = classmethod(date_today)


def _let_pydantic_know(patched: Any) -> None:
    """Make pydantic models that are defined from now on accept fields of freezegun's types."""
    from pydantic_core import core_schema  # noqa: PLC0415 - as above

    def of_datetime(_cls: Any, _source: Any, _handler: Any) -> Any:
        return core_schema.datetime_schema()

    def of_date(_cls: Any, _source: Any, _handler: Any) -> Any:
        return core_schema.date_schema()

    patched.FakeDate.__get_pydantic_core_schema__ = classmethod(of_date)
    patched.FakeDatetime.__get_pydantic_core_schema__ = classmethod(of_datetime)
