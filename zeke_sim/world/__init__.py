"""A simulated world: processes with their clocks, their database and network, and the faults that hit them.

``world`` composes the rest from a ``setup``; ``context`` is what all parts share. ``node`` is a process,
which runs one of the ``programs``, ``client`` forwards the calls of its storage, ``network`` is the way
to the database, on which ``faults`` are injected, ``database`` the server's side of transactions.
``handlers`` records what handlers do, ``lines`` puts points between their statements, at which a process
can be killed, ``module_locks`` keeps their locks apart, ``task_order`` chooses which ready callback runs
next, ``time_skipping`` passes over idle hours. ``sandbox`` refuses what reaches outside, ``frozen_time``
shows virtual time to handlers.
"""
