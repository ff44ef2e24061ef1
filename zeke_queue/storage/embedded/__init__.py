"""A private Postgres for development and tests, and the user that it runs as."""
