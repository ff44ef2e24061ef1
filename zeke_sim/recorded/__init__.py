"""Histories of real systems: recorded from their tables, checked, and replayed in a world with faults.

``format`` defines the file, ``redact`` what it contains of payloads, and ``record`` writes it from a
database. ``check`` converts its rows to events, for the properties that can be checked on rows. ``profiles``
derives what a replay needs: arrivals, times of attempts, and processes. ``scenario`` makes a world of these,
``replays`` runs it, and ``compare`` compares a replay with the history.
"""
