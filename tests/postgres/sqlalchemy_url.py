"""The URL by which SQLAlchemy connects to a test's database."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL


def url(dsn: str, driver: str) -> URL:
    parts = {**conninfo_to_dict(dsn)}
    host, port = str(parts["host"]), parts.get("port")
    on_socket = host.startswith("/")
    return URL.create(
        f"postgresql+{driver}",
        username=str(parts["user"]),
        password=str(parts["password"]) if "password" in parts else None,
        database=str(parts["dbname"]),
        host=None if on_socket else host,
        port=int(port) if port else None,
        query={"host": host} if on_socket else {},
    )
