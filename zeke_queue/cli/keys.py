"""``zeke keys create | list | revoke``: keys of the HTTP API.

A key's text is printed only once, to standard output, when it is created: ``TOKEN=$(zeke keys create ci)``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Column
from rich.text import Text

from zeke_queue.cli.render import NOTHING, ago, echo, moment, plain, print_json, print_table
from zeke_queue.cli.session import open_queue, open_read_only, options_of, runs_async
from zeke_queue.client.parts import parts_of
from zeke_queue.errors import InvalidOptionError, ZekeError
from zeke_queue.storage.access import NewKey, Scope
from zeke_queue.system.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.storage.access import ApiKey

NAME_MAX: Final = 100
LONGEST: Final = 3_650 * 86_400.0
"""Longest lifetime of a key in seconds; without ``--expires`` a key never expires."""

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_LENGTH: Final = re.compile(r"([0-9]{1,9})([mhdw])")
_LEAST_GIVEN: Final = 4
_TOLD: Final = 5
"""Keys named in a message at most."""

keys_app = typer.Typer(help="Create API keys, list them, and revoke one.", no_args_is_help=True)


@keys_app.command("create")
@runs_async
async def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key's user or purpose.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help=f"A scope that it grants ({', '.join(Scope)}); may be repeated.",
            show_default="jobs.trigger",
        ),
    ] = None,
    team: Annotated[
        str | None, typer.Option(metavar="UUID", help="The team of the key's holder.", show_default=False)
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Time until it expires, such as 12h, 30d or 8w.", show_default="never"
        ),
    ] = None,
) -> None:
    """Create a key and print it; it is shown only once.

    Scopes: jobs.read reads everything, jobs.trigger also sends jobs, jobs.admin allows everything.
    """
    from zeke_queue.core import apikeys
    from zeke_queue.system.clock import SystemClock
    from zeke_queue.system.entropy import Ids, SystemEntropy

    options, entropy = options_of(context), SystemEntropy()
    text = apikeys.new_key(entropy.stream("key").randbytes(apikeys.KEY_BYTES))
    new = NewKey(
        id=Ids(SystemClock(), entropy)(),
        name=_checked_name(name),
        prefix=apikeys.prefix_of(text),
        digest=apikeys.digest_of(text),
        scopes=frozenset(map(_scope, scope or [Scope.TRIGGER])),
        team_id=None if team is None else _team(team),
        expires_in=None if expires is None else _length(expires),
    )
    async with open_queue(options) as queue:
        keys, now = await parts_of(queue).storage.access.keys(), await parts_of(queue).storage.now()
        alike = [one.prefix for one in keys if one.name == new.name and one.is_valid(now)]
        key = await parts_of(queue).storage.access.create_key(new)
        # The key is valid from here on, so print its text before anything that may fail.
        _print_new(key, text, alike, as_json=options.json)


@keys_app.command("list")
@runs_async
async def list_keys(context: typer.Context) -> None:
    """List all keys, including revoked and expired ones; times are UTC."""
    options = options_of(context)
    async with open_read_only(options) as queue:
        keys, now = await parts_of(queue).storage.access.keys(), await parts_of(queue).storage.now()
    if options.json:
        print_json([_value(key) for key in keys])
    elif not keys:
        echo("No keys yet: `zeke keys create NAME`, or start `zeke up`, which creates one.")
    else:
        _print_keys(keys, now)


@keys_app.command("revoke")
@runs_async
async def revoke(
    context: typer.Context,
    name_or_prefix: Annotated[
        str, typer.Argument(metavar="KEY", help="Its name, or the beginning of its id or text.")
    ],
) -> None:
    """Revoke a key permanently, and delete its sessions."""
    options = options_of(context)
    async with open_queue(options) as queue:
        key = _sole(
            await parts_of(queue).storage.access.keys(), name_or_prefix, await parts_of(queue).storage.now()
        )
        if not await parts_of(queue).storage.access.revoke_key(key.id):
            raise ZekeError(f"Key {key.prefix} ({harmless(key.name)}) is already revoked")
    if options.json:
        print_json({"id": key.id, "prefix": key.prefix, "name": key.name, "revoked": True})
    else:
        echo(f"{key.prefix} ({harmless(key.name)}) is revoked.")


def _print_new(key: ApiKey, text: str, alike: Sequence[str], *, as_json: bool) -> None:
    """Print the text of a new key; to standard error, explain it and name other valid keys with its name."""
    if not as_json:
        until = (
            "is valid until it is revoked"
            if key.expires_on is None
            else f"expires {moment(key.expires_on)} UTC"
        )
        echo(
            f"{key.name}: {', '.join(_scopes(key))}; it {until}. It is shown only now, so store it"
            f" with your secrets. To revoke it: zeke keys revoke {key.prefix}",
            err=True,
        )
    if alike:
        echo(
            f"Other valid keys with this name: {', '.join(alike[:_TOLD])}; `zeke keys revoke` takes the"
            " beginning of a text too.",
            err=True,
        )
    if as_json:
        print_json({"key": text, **_value(key)})
    else:
        echo(text)


def _checked_name(name: str) -> str:
    """Return a key's name."""
    if not 1 <= len(name.strip()) <= NAME_MAX or not name.isprintable():
        raise InvalidOptionError(
            f"NAME: must be 1 to {NAME_MAX} printable characters, got {name[:NAME_MAX]!r}"
        )
    return name.strip()


def _scope(name: str) -> Scope:
    try:
        return Scope(name)
    except ValueError:
        raise InvalidOptionError(f"--scope: must be one of {', '.join(Scope)}, got {name!r}") from None


def _team(text: str) -> UUID:
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        raise InvalidOptionError(
            f"--team: must be a UUID, got {text!r}; pass one such as 123e4567-e89b-12d3-a456-426614174000"
        ) from None


def _length(text: str) -> float:
    """Return a duration in seconds."""
    found = _LENGTH.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise InvalidOptionError(
            f"--expires: must be a number and m, h, d or w, up to ten years, got {text!r}; write 30d"
        )
    return seconds


def _sole(keys: Sequence[ApiKey], name_or_prefix: str, now: datetime) -> ApiKey:
    """Return the one key with this name (valid ones first), or whose id or text begins with it.

    Raises:
        InvalidOptionError: it is too short, and not a name.
        ZekeError: no key matches, or several do.
    """
    from zeke_queue.core import apikeys

    if apikeys.is_well_formed(name_or_prefix):
        digest = apikeys.digest_of(name_or_prefix)
        found = [key for key in keys if apikeys.same(key.digest, digest)]
        name_or_prefix = apikeys.prefix_of(name_or_prefix)  # messages must not contain the rest
    else:
        named = [key for key in keys if key.name == name_or_prefix]
        found = [key for key in named if key.is_valid(now)] or named
        if len(name_or_prefix) >= _LEAST_GIVEN:
            begun = [
                key
                for key in keys
                if key.prefix.startswith(name_or_prefix) or str(key.id).startswith(name_or_prefix.lower())
            ]
            found += [key for key in begun if key not in found]
        elif not found:
            raise InvalidOptionError(
                f"KEY: must be a key's name, or at least {_LEAST_GIVEN} characters of its id or text, got"
                f" {name_or_prefix!r}"
            )
    if len(found) == 1:
        return found[0]
    if not found:
        raise ZekeError(
            f"No key has this name, id or text: {name_or_prefix!r}; `zeke keys list` lists the keys"
        )
    listed = ", ".join(f"{key.id} ({key.prefix}, {harmless(key.name)})" for key in found[:_TOLD])
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    raise ZekeError(f"Several keys match {name_or_prefix!r}: {listed}{more}; pass an id, or more of the text")


def _scopes(key: ApiKey) -> list[str]:
    return [scope.value for scope in Scope if scope in key.scopes]


def _value(key: ApiKey) -> dict[str, Any]:
    """Return a key as ``--json`` prints it, without its digest."""
    value = {name: field for name, field in plain(key).items() if name != "digest"}
    return {**value, "scopes": _scopes(key)}


def _print_keys(keys: Sequence[ApiKey], now: datetime) -> None:
    # Most installations have no keys of teams.
    have_team = any(key.team_id for key in keys)
    columns = (
        Column("key"),
        Column("name", min_width=12),
        Column("scopes"),
        *([Column("team", min_width=8)] if have_team else []),
        Column("created", min_width=1),
        Column("last used", justify="right"),
        Column(""),
    )
    rows = [
        (
            key.prefix,
            key.name,
            ", ".join(_scopes(key)) or NOTHING,
            *([str(key.team_id or NOTHING)] if have_team else []),
            moment(key.created_on),
            ago(key.last_used_on, now),
            _standing(key, now),
        )
        for key in keys
    ]
    print_table(columns, rows)


def _standing(key: ApiKey, now: datetime) -> Text | str:
    if key.revoked_on is not None:
        return Text(f"revoked {ago(key.revoked_on, now)}", style="bright_black")
    if key.expires_on is None:
        return ""
    if key.expires_on <= now:
        return Text(f"expired {ago(key.expires_on, now)}", style="yellow")
    return f"until {moment(key.expires_on)}"
