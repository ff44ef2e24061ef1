"""The pytest harness for applications: one task, a queue in virtual time, or a whole simulation with faults.

``facade`` is the interface that tests use. It drives a ``TestEnvironment``: a virtual event loop, a
storage (in memory or a real Postgres), and a worker that runs only while the test advances time.
``simulations``, ``seeded_test`` and ``crash_test`` run whole simulations, whose options are in ``worlds``.
"""
