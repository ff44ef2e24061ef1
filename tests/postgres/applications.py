"""Transactions of applications without asyncio, as psycopg, SQLAlchemy, Django and Flask open them."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.postgres.sqlalchemy_url import url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Application(NamedTuple):
    """An open transaction: what ``SyncQueue.transaction`` joins, and what runs a statement in it."""

    joinable: Any
    execute: Callable[[str], Any]


# By name: Django has no types, and pyright would infer them from its source.
_django: Any = import_module("django")
_flask: Any = import_module("flask")
_flask_sqlalchemy: Any = import_module("flask_sqlalchemy")
_conf: Any = import_module("django.conf")
_db: Any = import_module("django.db")


@contextmanager
def on_psycopg(dsn: str, kind: str) -> Iterator[Application]:
    connected = psycopg.Connection[DictRow].connect(
        dsn, row_factory=dict_row, autocommit=kind == "autocommit"
    )
    with connected as connection:
        execute: Any = connection.execute
        # Conversions of the application must not reach the queue's statements.
        set_json_loads(lambda data: "the application's", connection)
        if kind == "pipeline":
            with connection.pipeline():
                yield Application(connection, execute)
        elif kind == "autocommit":
            with connection.transaction():
                yield Application(connection, execute)
        else:
            yield Application(connection, execute)


@contextmanager
def on_alchemy(dsn: str, driver: str, kind: str) -> Iterator[Application]:
    engine = create_engine(url(dsn, driver))
    try:
        if kind == "connection":
            with engine.begin() as connection:
                yield Application(connection, lambda statement: connection.execute(text(statement)))
        elif kind == "session":
            with Session(engine) as session, session.begin():
                yield Application(session, lambda statement: session.execute(text(statement)))
        else:
            scoped = scoped_session(sessionmaker(engine))
            with scoped(), scoped.begin():
                yield Application(scoped, lambda statement: scoped.execute(text(statement)))
    finally:
        engine.dispose()


@contextmanager
def django_on(dsn: str) -> Iterator[Any]:
    """Set up Django on a database, and return the connection."""
    if not _conf.settings.configured:
        _conf.settings.configure(USE_TZ=True)
        _django.setup()
    parts = {**conninfo_to_dict(dsn)}
    keys = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    database = {name: str(parts.get(key) or "") for name, key in keys.items()}
    handler = _db.utils.ConnectionHandler(
        {"default": {"ENGINE": "django.db.backends.postgresql", **database}}
    )
    _db.connections["default"] = handler["default"]
    try:
        yield _db.connections["default"]
    finally:
        _db.connections["default"].close()
        del _db.connections["default"]


def atomic() -> AbstractContextManager[None]:
    return _db.transaction.atomic()


@contextmanager
def on_django(dsn: str) -> Iterator[Application]:
    with django_on(dsn) as connection, atomic():
        yield Application(connection.connection, connection.cursor().execute)


@contextmanager
def on_flask(dsn: str) -> Iterator[Application]:
    app = _flask.Flask("app")
    app.config["SQLALCHEMY_DATABASE_URI"] = url(dsn, "psycopg")
    database = _flask_sqlalchemy.SQLAlchemy(app)
    with app.app_context():
        try:
            yield Application(database.session, lambda statement: database.session.execute(text(statement)))
            database.session.commit()
        finally:
            database.session.remove()
            database.engine.dispose()


APPLICATIONS: dict[str, Callable[[str], AbstractContextManager[Application]]] = {
    "psycopg": lambda dsn: on_psycopg(dsn, "plain"),
    "psycopg in autocommit": lambda dsn: on_psycopg(dsn, "autocommit"),
    "psycopg in a pipeline": lambda dsn: on_psycopg(dsn, "pipeline"),
    "connection of SQLAlchemy": lambda dsn: on_alchemy(dsn, "psycopg", "connection"),
    "session of SQLAlchemy": lambda dsn: on_alchemy(dsn, "psycopg", "session"),
    "scoped session of SQLAlchemy": lambda dsn: on_alchemy(dsn, "psycopg", "scoped"),
    "SQLAlchemy on psycopg2": lambda dsn: on_alchemy(dsn, "psycopg2", "connection"),
    "Django": on_django,
    "Flask": on_flask,
}
