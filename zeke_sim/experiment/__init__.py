"""Scenarios, runs over many seeds, replay, shrinking and coverage.

``scenario`` names and loads worlds, ``plan`` is a run as data, ``run`` makes one, ``driver`` makes many, in
one process or several, within a ``budget``. ``replay`` and ``shrink`` take a failure's plan,
``coverage`` counts reached situations, and ``fault_coverage`` which faults hit which task. ``crashes`` kills
a process at each statement of its handlers.
"""
