"""The pytest harness for applications: a task by itself, a queue in virtual time, a whole world under faults.

``facade`` is what a test holds. Behind it stands a ``Stage``: a virtual loop, a storage on it (in memory, or
a real Postgres), and a worker that works while the test lets time pass. ``simulating`` is for whole worlds.
"""
