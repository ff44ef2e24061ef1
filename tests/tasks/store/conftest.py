"""The domain's store on both storages: here the storage itself is the subject."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clocks import START
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.emptying import empty


@pytest.fixture(params=["memory", "postgres"])
def fresh(request: pytest.FixtureRequest) -> Callable[[], Domain]:
    """Return a function that creates an empty store; those on Postgres replace one another."""
    if request.param == "memory":
        return memory_domain
    on_postgres: Domain = request.getfixturevalue("on_postgres")
    dsn: str = request.getfixturevalue("domain_dsn")

    def emptied() -> Domain:
        empty(dsn)
        clock = on_postgres.clock
        clock.advance((START - clock.now()).total_seconds())
        return Domain(on_postgres.storage, on_postgres.repository, clock)

    return emptied


@pytest.fixture
def domain(fresh: Callable[[], Domain]) -> Domain:
    """An empty store; the test does not know which."""
    return fresh()
