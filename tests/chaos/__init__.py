"""One fault after another, injected into real workers and a real Postgres, and a table of what they cost.

``tests.torture`` judges a history by properties; this counts and times: jobs that were sent, executed once,
executed again, lost or stuck, and how soon the workers were as fast as before.

``executions`` is the log that each worker writes, on disk before a job's work counts; ``checker`` compares it
with the rows, ``speeds`` finds the recovery in it. ``tasks`` and ``process`` are the workers, ``load`` sends
the jobs and follows streams, ``servers`` are the databases, ``faults`` inject faults;
``experiment`` puts one fault and one load together, ``report`` prints. ``python -m tests.chaos --help`` shows
the options.
"""
