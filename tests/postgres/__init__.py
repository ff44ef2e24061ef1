"""Tests of what only Postgres has: migrations, plans, connections, real concurrency."""
