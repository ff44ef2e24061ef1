"""Migrations of the queue's tables and of those of other distributions.

Distributions with tables of their own take part by the entry-point group ``zeke.migrations``, whose objects
are modules with ``migrate(dsn) -> list[str]``, ``sql() -> str`` and, optionally, ``grant(dsn, role)``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Protocol

from zeke_queue.errors import UsageError


class Migrations(Protocol):
    """The object of an entry point in ``zeke.migrations``."""

    def migrate(self, dsn: str) -> list[str]:
        """Create or update the tables; return the names of the applied migrations."""
        ...

    def sql(self) -> str:
        """Return the SQL that creates the tables in a database without them."""
        ...

    def grant(self, dsn: str, role: str) -> None:
        """Grant a role the rights that the tasks need; only ``zeke migrate --grant`` requires it."""
        ...


def migrate_all(dsn: str, schema: str) -> dict[str, list[str]]:
    """Migrate the queue's tables, and those of other distributions.

    Returns:
        The applied migrations, by schema or, for other distributions, by the name of their entry point.
    """
    from zeke_queue.storage.postgres import migrate as own

    loaded = others()
    applied = {schema: own.migrate(dsn, schema)}
    return applied | {name: other.migrate(dsn) for name, other in loaded.items()}


def check_grant(dsn: str, role: str) -> None:
    """Check that ``grant_all`` is possible, before anything is migrated.

    Raises:
        UsageError: there is no such role, or a distribution does not say which rights its tasks need.
    """
    from zeke_queue.storage.postgres import grants

    loaded = others()
    if unable := sorted(name for name, other in loaded.items() if not hasattr(other, "grant")):
        raise UsageError(
            f"--grant: must be left out with the migrations {', '.join(unable)}, which have no"
            " grant(dsn, role); grant the rights by hand"
        )
    grants.check_role(dsn, role)


def grant_all(dsn: str, schema: str, role: str) -> None:
    """Grant a role the rights of workers and the API, on the tables of other distributions too."""
    from zeke_queue.storage.postgres import grants

    grants.grant(dsn, schema, role)
    for other in others().values():
        other.grant(dsn, role)


def others() -> dict[str, Migrations]:
    """Return the migrations of other distributions.

    Raises:
        UsageError: one can't be loaded; an incomplete migration would be noticed much later.
    """
    loaded: dict[str, Any] = {}
    for point in entry_points(group="zeke.migrations"):
        try:
            loaded[point.name] = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"The migrations {point.name!r} ({point.value}) can't be loaded: {error}; install what is"
                " missing, or uninstall their distribution"
            ) from error
    return loaded
