"""API keys on the command line."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.cases import check_each
from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.access import NewKey, Scope
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.access import PostgresAccess

if TYPE_CHECKING:
    from tests.cli.conftest import Zeke
    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.access import ApiKey

TEAM = "123e4567-e89b-12d3-a456-426614174000"


def valid_keys(zeke: Zeke, text: str) -> list[ApiKey]:
    async def look(queue: Queue) -> list[ApiKey]:
        return await parts_of(queue).storage.access.valid_keys(apikeys.prefix_of(text))

    return [key for key in zeke.on_queue(look) if apikeys.same(key.digest, apikeys.digest_of(text))]


def add_expired(zeke: Zeke, name: str) -> None:
    """Store a key that has expired before it is read."""
    text = apikeys.new_key(bytes(32))
    new = NewKey(
        id=UUID(int=1),
        name=name,
        prefix=apikeys.prefix_of(text),
        digest=apikeys.digest_of(text),
        scopes=frozenset({Scope.READ}),
        expires_in=1e-6,
    )
    zeke.on_queue(lambda queue: parts_of(queue).storage.access.create_key(new))


def test_key_create_prints_only_the_key_which_is_valid_at_once(zeke: Zeke) -> None:
    result = zeke("keys", "create", "ci")
    assert result.exit_code == 0
    text = result.stdout.removesuffix("\n")
    assert apikeys.is_well_formed(text)
    assert text not in result.stderr
    assert f"zeke keys revoke {apikeys.prefix_of(text)}" in result.stderr
    (key,) = valid_keys(zeke, text)
    assert (key.name, key.scopes, key.team_id, key.expires_on) == ("ci", {Scope.TRIGGER}, None, None)
    assert zeke.good("keys", "create", "ci") != result.stdout


def test_key_has_the_requested_scopes_team_and_expiry(zeke: Zeke) -> None:
    scopes = ("--scope", "jobs.read", "--scope", "jobs.admin")
    text = zeke.good("keys", "create", "ops", *scopes, "--team", TEAM, "--expires", "30d").strip()
    (key,) = valid_keys(zeke, text)
    assert key.scopes == {Scope.READ, Scope.ADMIN}
    assert str(key.team_id) == TEAM
    assert key.expires_on is not None
    assert key.expires_on - key.created_on == timedelta(days=30)


def test_expiry_of_a_key_accepts_several_units(zeke: Zeke) -> None:
    def check(given: str, seconds: int) -> None:
        value = zeke.json("keys", "create", "ci", "--expires", given)
        created, expires = (datetime.fromisoformat(value[name]) for name in ("created_on", "expires_on"))
        assert (expires - created).total_seconds() == seconds

    check_each([("1m", 60), ("12h", 43_200), ("8w", 4_838_400)], check)


def test_json_of_a_key_omits_the_digest(zeke: Zeke) -> None:
    created = zeke.json("keys", "create", "ci", "--scope", "jobs.read")
    text = created.pop("key")
    assert zeke.json("keys", "list") == [created]
    assert created["prefix"] == apikeys.prefix_of(text)
    assert created["scopes"] == ["jobs.read"]
    shown = zeke.good("--json", "keys", "list") + zeke.good("keys", "list")
    assert text[len(apikeys.prefix_of(text)) :] not in shown
    assert apikeys.digest_of(text).hex() not in shown


def test_keys_are_listed_with_scopes_and_validity(zeke: Zeke) -> None:
    used, expiring, revoked = (
        zeke.good("keys", "create", name, *more).strip()
        for name, more in (("used", ()), ("expiring", ("--expires", "2d")), ("revoked", ()))
    )

    async def use(queue: Queue) -> None:
        (key,) = await parts_of(queue).storage.access.valid_keys(apikeys.prefix_of(used))
        await parts_of(queue).storage.access.touch_key(key.id)

    zeke.on_queue(use)
    zeke.good("keys", "revoke", revoked)
    heading, *lines = zeke.good("keys", "list").splitlines()
    assert heading.split() == ["key", "name", "scopes", "created", "last", "used"]
    assert [line.split()[0] for line in lines] == list(map(apikeys.prefix_of, (used, expiring, revoked)))
    assert re.search(r" \d+ s$", lines[0])
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", lines[1])
    assert re.search(r"revoked \d+ s$", lines[2])


def test_teams_of_keys_are_listed_if_any_key_has_one(zeke: Zeke) -> None:
    team = "5a656b65-0000-4000-8000-000000000001"
    zeke.good("keys", "create", "of-a-team", "--team", team)
    zeke.good("keys", "create", "of-no-team")
    heading, first, second = zeke.good("keys", "list").splitlines()
    assert heading.split()[:4] == ["key", "name", "scopes", "team"]
    assert (first.split()[3], second.split()[3]) == (team, "–")


def test_empty_list_of_keys_is_reported(zeke: Zeke) -> None:
    assert "`zeke keys create NAME`" in zeke.good("keys", "list")
    assert zeke.json("keys", "list") == []


def test_key_is_revoked_by_id_prefix_or_text(zeke: Zeke) -> None:
    def check(how: str) -> None:
        other, value = zeke.json("keys", "create", "other"), zeke.json("keys", "create", "ci")
        which = {
            "id": value["id"],
            "part of the id": value["id"][:-1].upper(),
            "prefix": value["prefix"],
            "part of the prefix": value["prefix"][:-1],
            "text": value["key"],
        }[how]
        assert zeke.json("keys", "revoke", which) == {
            "id": value["id"],
            "prefix": value["prefix"],
            "name": "ci",
            "revoked": True,
        }
        assert valid_keys(zeke, value["key"]) == []
        assert valid_keys(zeke, other["key"]) != []
        assert "is already revoked" in zeke.fails("keys", "revoke", which, code=1)

    check_each(["id", "part of the id", "prefix", "part of the prefix", "text"], check)


def test_second_key_of_a_name_is_created_and_distinguished(zeke: Zeke) -> None:
    """As when a new key replaces an old one, which remains valid meanwhile."""
    assert "Other valid keys" not in zeke("keys", "create", "ci").stderr
    (first,) = zeke.json("keys", "list")
    made = zeke("keys", "create", "ci")
    assert f"Other valid keys with this name: {first['prefix']};" in made.stderr
    second = zeke.json("keys", "list")[1]
    said = zeke.fails("keys", "revoke", "ci", code=1)
    assert "Several keys match 'ci'" in said
    assert all(key["id"] in said and key["prefix"] in said for key in (first, second))
    assert all(key["revoked_on"] is None for key in zeke.json("keys", "list"))
    zeke.good("keys", "revoke", first["prefix"])
    assert zeke.json("keys", "revoke", "ci")["id"] == second["id"]
    assert "Other valid keys" not in zeke("keys", "create", "ci").stderr


def test_warning_about_equal_names_is_apart_from_the_json(zeke: Zeke) -> None:
    assert zeke("--json", "keys", "create", "ci").stderr == ""
    (first,) = zeke.json("keys", "list")
    made = zeke("--json", "keys", "create", "ci")
    assert json.loads(made.stdout)["name"] == "ci"
    assert f"Other valid keys with this name: {first['prefix']};" in made.stderr
    assert json.loads(made.stdout)["key"] not in made.stderr


def test_expired_key_of_a_name_is_not_reported(zeke: Zeke) -> None:
    add_expired(zeke, "ci")
    made = zeke("keys", "create", "ci")
    assert "Other valid keys" not in made.stderr
    zeke.good("keys", "revoke", "ci")
    assert valid_keys(zeke, made.stdout.strip()) == []
    # With no valid one left, the name again matches both.
    assert "Several keys match 'ci'" in zeke.fails("keys", "revoke", "ci", code=1)


def test_key_is_not_stored_when_its_output_would_fail(zeke: Zeke, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is stored before the failure would be valid, and its text unknown."""

    async def lost(_: object) -> None:
        raise StorageUnavailableError("The connection was lost.")

    for owner, verb in ((PostgresAccess, "keys"), (PostgresStorage, "now")):
        with monkeypatch.context() as broken:
            broken.setattr(owner, verb, lost)
            zeke.fails("keys", "create", "ci", code=1)
        assert zeke.json("keys", "list") == []


def test_key_is_revoked_by_an_unambiguous_name(zeke: Zeke) -> None:
    one = zeke.json("keys", "create", "one")
    namesake = zeke.json("keys", "create", one["prefix"])
    said = zeke.fails("keys", "revoke", one["prefix"], code=1)
    assert one["id"] in said
    assert namesake["id"] in said
    assert zeke.json("keys", "revoke", "one")["id"] == one["id"]
    assert "is already revoked" in zeke.fails("keys", "revoke", "one", code=1)


def test_unknown_or_ambiguous_key_is_not_revoked(zeke: Zeke) -> None:
    values = [zeke.json("keys", "create", name) for name in ("one", "two")]
    stranger = apikeys.new_key(bytes(32))
    said = zeke.fails("keys", "revoke", stranger, code=1)
    assert "No key has this name, id or text: 'mid_00000000'" in said
    assert stranger not in said
    said = zeke.fails("keys", "revoke", "mid_", code=1)
    assert all(value["id"] in said for value in values)
    said = zeke.fails("keys", "revoke", "mid", code=2)
    assert "at least 4 characters of its id or text, got 'mid'" in said
    assert all(valid_keys(zeke, value["key"]) for value in values)


def test_invalid_key_is_rejected_with_the_reason(zeke: Zeke) -> None:
    span = "--expires: must be a number and m, h, d or w, up to ten years"

    def check(wrong: tuple[str, ...], said: str) -> None:
        assert said in zeke.fails("keys", "create", *wrong, code=2)

    check_each(
        [
            (("",), "printable characters, got ''"),
            (("  ",), "NAME: must be 1 to"),
            (("a" * 101,), "NAME: must be 1 to 100 printable characters, got 'a"),
            (("a\x1b[2J",), r"printable characters, got 'a\x1b[2J'"),
            (("ci", "--team", "7"), "--team: must be a UUID, got '7'"),
            (("ci", "--expires", "30"), "up to ten years, got '30'"),
            (("ci", "--expires", "0d"), f"{span}, got '0d'"),
            (("ci", "--expires", "-1d"), f"{span}, got '-1d'"),
            (("ci", "--expires", "522w"), f"{span}, got '522w'"),
            (("ci", "--expires", "1.5h"), f"{span}, got '1.5h'"),
        ],
        check,
    )
    assert zeke.json("keys", "list") == []


def test_unknown_scope_is_refused_with_the_known_ones(zeke: Zeke) -> None:
    said = zeke.fails("keys", "create", "ci", "--scope", "jobs.all", code=2)
    assert "--scope: must be one of jobs.trigger, jobs.read, jobs.admin, got 'jobs.all'" in said
