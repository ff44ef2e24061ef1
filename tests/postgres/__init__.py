"""Tests of features that only Postgres has: migrations, plans, connections, real concurrency."""
