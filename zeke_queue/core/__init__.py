"""The pure decisions of the runtime: no clock, no I/O, and no randomness except arguments.

``states`` is the life of a job, ``status`` what users read of it, ``retry`` whether and when it runs again,
``options`` and ``stored_options`` how options merge, ``slots`` throttling, ``cron`` over ``crontab`` which
ticks are due.
``jsonb`` writes JSON as Postgres does, ``failure`` describes exceptions, ``redaction`` hides values,
``validation`` and ``names`` check arguments, ``apikeys`` makes and checks keys. ``time_buckets``,
``text_search``, ``event_limits``, ``waits`` and ``timeouts`` are rules that both storages share, ``leases``,
``halves`` and ``poll_backoff`` rules that several loops share. ``contended_queues`` decides when claims retry
queues whose rows other sessions have locked. ``pgboss_import`` says what jobs of pg-boss 10 to 12 become.
"""
