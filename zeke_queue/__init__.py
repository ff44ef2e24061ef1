"""Typed background jobs on the Postgres you already have, on the tables of pg-boss 9."""
