"""What a role may do with the rights that it has, and what it is told where they don't suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.cli.conftest import SHOP, Zeke
from tests.cli.test_bad_input import stranger
from zeke_queue.errors import BadSetting
from zeke_queue.storage.postgres import migrate

LETTER = '{"to": "ann"}'
LOOKS = [("jobs",), ("jobs", "--archived"), ("job", "show", "ID"), ("queues",), ("schedules",)]

every_look = pytest.mark.parametrize("look", LOOKS, ids=" ".join)
Grant = Callable[[str], None]


@pytest.fixture
def zeke(zeke_alone: Zeke) -> Zeke:
    return zeke_alone


@pytest.fixture
def role(zeke: Zeke) -> Iterator[tuple[Zeke, Grant]]:
    """The command line as a role without rights, and what grants it some as the tables' owner."""
    with stranger(zeke.dsn) as dsn, psycopg.connect(zeke.dsn or "", autocommit=True) as owner:
        name = dsn.partition("role=")[2].strip("'\"")
        yield Zeke(dsn), lambda right: owner.execute(f"grant {right} to {name}".encode()) and None


@every_look
def test_whoever_may_only_read_sees_what_the_owner_sees(
    zeke: Zeke, role: tuple[Zeke, Grant], look: tuple[str, ...]
) -> None:
    reader, grant = role
    grant("usage on schema pgboss")
    grant("select on all tables in schema pgboss")
    job_id = zeke.send("mail", LETTER)
    zeke.work()
    command = [job_id if word == "ID" else word for word in look]
    assert reader.json(*command) == zeke.json(*command)


@every_look
def test_whoever_may_not_read_is_told_what_lets_him(role: tuple[Zeke, Grant], look: tuple[str, ...]) -> None:
    reader, grant = role
    command = ["00000000-0000-4000-8000-000000000000" if word == "ID" else word for word in look]
    said = reader.fails(*command, code=1)
    assert "lacks the right usage on schema pgboss" in said
    grant("usage on schema pgboss")
    said = reader.fails(*command, code=1)
    assert "lacks the right select on pgboss.job" in said
    statements = said.partition("As the tables' owner: ")[2].strip().split("; ")
    for statement in statements:
        grant(statement.removeprefix("grant ").rpartition(" to ")[0])
    assert "lacks" not in reader(*command).output


@pytest.mark.parametrize("command", ["api", "up"])
def test_whoever_may_not_serve_the_api_is_told_all_that_lets_him(
    role: tuple[Zeke, Grant], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    server, grant = role
    grant("usage on schema pgboss")
    for table, rights in migrate.RIGHTS.items():
        grant(f"{rights} on pgboss.{table}")
    grant("select on pgboss.api_key")
    said = server.fails(command, *SHOP, "--port", "0", code=1)
    assert "can't serve the HTTP API: it lacks in schema pgboss: " in said
    assert "insert, update on api_key" in said
    assert "api_listening" not in said
    for statement in said.partition("As the tables' owner: ")[2].strip().removesuffix(";").split("; "):
        grant(statement.removeprefix("grant ").rpartition(" to ")[0])
    begun: list[str] = []

    def begins(*_: object, **__: object) -> None:
        begun.append(command)
        raise BadSetting("far enough")

    monkeypatch.setattr("zeke_queue.cli.serve._server", begins)
    assert "far enough" in server.fails(command, *SHOP, "--port", "0", code=2)
    assert begun == [command]


def test_an_api_on_tables_that_are_out_of_date_says_how_they_are_brought_up(zeke: Zeke) -> None:
    with psycopg.connect(zeke.dsn or "", autocommit=True) as owner:
        owner.execute(
            "delete from pgboss.zeke_migration where number = (select max(number) from pgboss.zeke_migration)"
        )
    said = zeke.fails("api", *SHOP, "--port", "0", code=1)
    assert "is not up to date" in said
    assert "zeke migrate" in said
    assert "api_listening" not in said


@pytest.mark.parametrize(
    "command", [("send", "mail", LETTER, *SHOP), ("queue", "pause", "mail")], ids=" ".join
)
def test_whoever_may_only_read_is_told_what_he_lacks_to_change_something(
    role: tuple[Zeke, Grant], command: tuple[str, ...]
) -> None:
    reader, grant = role
    grant("usage on schema pgboss")
    grant("select on all tables in schema pgboss")
    said = reader.fails(*command, code=1)
    assert "lacks the right insert on pgboss.job" in said
    assert "`zeke doctor` prints" in said
