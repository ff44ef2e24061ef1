"""The demo: a private Postgres, a sample site on loopback, real workers, and what comes of it."""
