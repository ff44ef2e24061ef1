"""Histories of real systems: recorded from their tables, checked, and replayed in a world with faults.

``format`` is the file, ``redact`` what of payloads it contains, ``record`` writes it from a database.
``check`` derives events from its rows for the properties that rows alone can violate. ``profiles`` derives
what a replay needs: arrivals, times of attempts, and processes; ``scenario`` makes a world of them.
"""
