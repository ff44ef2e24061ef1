"""The fixtures for tests of Zeke's own tasks: in plain tests, virtual time, worlds, and without the extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import application, run

if TYPE_CHECKING:
    from zeke_tasks.testing.ai import ScriptedAI
    from zeke_tasks.testing.web import ScriptedWeb

pytest_plugins = ["pytester"]

PARTS = """
    import pytest
    import zeke_sim
    from zeke_queue.system.clock import SystemClock
    from zeke_tasks.testing.ai import ScriptedAI
    from zeke_tasks.testing.web import ScriptedWeb, busy, feed, page
    from zeke_tasks.ai import AIUnavailable
    from zeke_tasks.catalog import build_catalog
    from zeke_tasks.context import Context, inline
    from zeke_tasks.store.memory import MemoryRepository

    PAGE = "https://a.example/1"

    def context(ai, web):
        return Context(MemoryRepository(SystemClock()), web, SystemClock(), inline, ai)
"""


async def test_in_a_plain_test_they_are_clients_like_any_other(
    zeke_ai: ScriptedAI, zeke_web: ScriptedWeb
) -> None:
    zeke_web.put("https://a.example/", "one")
    fetched = await zeke_web.fetch("https://a.example/", kind="page")
    embedded = await zeke_ai.embed([fetched.body.decode()])
    assert zeke_ai.calls("embed") == ["one"]
    assert len(embedded.vectors) == 1


@pytest.mark.nightly
def test_in_virtual_time_a_server_that_asks_to_wait_is_waited_for(pytester: pytest.Pytester) -> None:
    application(
        pytester,
        PARTS
        + """
    @pytest.fixture
    def zeke_catalog():
        return build_catalog(scheduled=False)

    @pytest.fixture
    def zeke_resources(zeke_ai, zeke_web):
        return context(zeke_ai, zeke_web)

    def test_it(zeke_sync, zeke_ai, zeke_web):
        zeke_web.put(PAGE, busy(retry_after=3600), page("Bees", "bees"))
        zeke_sync.send("ingest-oneoff", {"url": PAGE})
        zeke_sync.advance(minutes=50)
        assert zeke_ai.asked == []
        zeke_sync.advance(minutes=20)
        assert len(zeke_web.requests(PAGE)) == 2
        assert zeke_sync.jobs("generate-brief", status="COMPLETED")
    """,
        conftest="",
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.nightly
def test_in_worlds_they_are_made_anew_for_each_run(pytester: pytest.Pytester) -> None:
    application(
        pytester,
        PARTS
        + """
    def resources():
        ai, web = ScriptedAI(late=2), ScriptedWeb()
        ai.put("generate-brief", AIUnavailable("away"), None)
        web.put(PAGE, busy(retry_after=60), page("Bees", "bees"))
        return context(ai, web)

    # Workers that are killed too often would use up the retries.
    faults = ["lost", "refused", "conflict"]

    @zeke_sim.test(
        seeds=4,
        days=0.01,
        faults=faults,
        calm=True,  # they may miss a task
        catalog=build_catalog(scheduled=False),
        resources=resources,
    )
    async def test_page_is_briefed_once(world):
        for _ in range(2):
            await world.send("ingest-oneoff", {"url": PAGE})
        ai, web = world.resources.ai, world.resources.web
        while len(ai.calls("generate-brief")) < 2:
            await world.sleep(minutes=5)
        assert len(web.requests(PAGE)) >= 2
    """,
        conftest="",
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("fixture", ["zeke_ai", "zeke_web"])
def test_missing_extra_is_named(pytester: pytest.Pytester, fixture: str) -> None:
    application(
        pytester,
        f"""
        def test_it({fixture}):
            pass
        """,
        conftest="import sys\nsys.modules['httpx2'] = None\n",
    )
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f'*{fixture}: it stands on zeke_tasks, *; python -m pip install ".[[]tasks]"*']
    )
