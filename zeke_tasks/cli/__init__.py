"""The catalog's commands, which join ``zeke`` by the entry points ``zeke.commands``.

What the tasks need is loaded when a command runs: every ``zeke`` command imports these modules, also where
the extra ``tasks`` is not installed.
"""
