"""A deterministic simulator for catalogs of ``zeke_queue``, and the harness that tests use it by."""
