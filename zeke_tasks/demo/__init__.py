"""The demo: a private Postgres, a sample site on loopback, and real workers."""
