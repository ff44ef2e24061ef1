"""An application with tests of its own, which are run as its developers run them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

SHOP = '''
from datetime import UTC, datetime
import asyncio

from pydantic import BaseModel

from zeke_queue import Catalog, Fail, JobContext

catalog = Catalog()


class Order(BaseModel):
    number: int


@catalog.task("charge", retry_limit=1, retry_delay=10, retry_backoff=False)
async def charge(order: Order, job: JobContext) -> dict[str, int]:
    job.logger.info("charging", order=order.number)
    job.progress(0.5, "half way")
    if order.number == 13:
        raise RuntimeError("declined")
    await asyncio.sleep(30)
    await job.send(receipt, order, delay=60)
    return {"charged": order.number}


@catalog.task("receipt")
def receipt(order: Order) -> str:
    """When it was written, by the machine's clock."""
    return datetime.now(UTC).isoformat()


@catalog.task("gather")
async def gather(job: JobContext) -> int:
    first = await job.trigger(receipt, Order(number=1))
    return len(await first.result(timeout=60))


@catalog.task("report")
async def report() -> str:
    return datetime.now(UTC).date().isoformat()


catalog.schedule("report", "0 2 * * *")
'''

# Plugins that no test here needs; two of them take longer to import than most tests last.
WITHOUT = ["cacheprovider", "randomly", "hypothesispytest", "schemathesis"]

QUIET = ["-q", "-W", "error"]


def application(pytester: pytest.Pytester, tests: str, *, conftest: str | None = None) -> None:
    """Write a shop, whose catalog its conftest names, and these tests of it."""
    pytester.makepyfile(shop=SHOP, test_shop=tests)
    if conftest is None:
        conftest = (
            "import pytest\nimport shop\n\n@pytest.fixture\ndef zeke_catalog():\n    return shop.catalog\n"
        )
    pytester.makeconftest(conftest)


def run(pytester: pytest.Pytester, *arguments: str, without: Sequence[str] = WITHOUT) -> pytest.RunResult:
    """Run an application's tests in a process of their own, without some plugins."""
    pytester.syspathinsert()
    if "no:asyncio" not in arguments:
        arguments = ("-o", "asyncio_default_fixture_loop_scope=function", *arguments)
    left_out = [word for name in without for word in ("-p", f"no:{name}")]
    return pytester.runpytest_subprocess(*QUIET, *left_out, *_plugin(), *arguments)


def _plugin() -> list[str]:
    """Load the plugin where the environment was installed before it had an entry point."""
    known = {one.name for one in entry_points(group="pytest11")}
    return [] if "zeke_sim" in known else ["-p", "zeke_sim.testing.pytest_plugin"]
