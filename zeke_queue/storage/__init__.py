"""The storage port and its implementations.

``store`` has the protocols; ``memory`` is the reference, ``postgres`` the one of production, and ``embedded``
starts a private Postgres server. ``inspect`` reads one job or schedule that must exist, ``access`` has the
values of API keys and sessions, and ``told`` collects changes for a watch, in both storages.
"""
