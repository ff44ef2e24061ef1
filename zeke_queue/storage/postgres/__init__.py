"""The storage on Postgres, on the tables of pg-boss 9.

``store`` and ``verbs`` implement the port; ``transaction``, ``sqlalchemy_connection`` and
``sync_connection`` join a caller's transaction. ``connection_pool`` runs statements and repeats
transactions, on ``connections`` with one spare, the settings of ``session`` and what a full
``notify_queue`` asks for; ``pooler`` detects what a pooler keeps; ``statements`` loads the files of
``sql/``; ``waiting`` waits for the server's answers; ``rows`` converts columns; ``error_mapping``
converts the server's errors. ``claims`` decides which claim to send; ``retention`` archives and purges;
``reader``, ``overview``, ``admin`` and ``access`` answer lists, figures, queue settings and keys.
``listener`` receives notifications and ``change_feed`` registers watches. ``heartbeat_connection`` sends
heartbeats outside the pool. ``migrate`` creates and upgrades the tables, by the ``migration_steps`` that
``migration_plan`` lists; ``pgboss_check`` checks that pg-boss 9 still works on them; ``grants`` gives a role
its rights; ``pgboss_source`` claims the jobs of a pg-boss 10 to 12, and ``pgboss_import`` stores them here;
``server_info`` reads what ``zeke doctor`` reports.
"""

from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.store import PostgresStorage

__all__ = ["PostgresStorage", "migrate"]
