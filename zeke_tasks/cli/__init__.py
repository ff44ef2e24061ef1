"""The catalog's commands, which extend ``zeke`` through the entry points ``zeke.commands``.

Every ``zeke`` command imports these modules, even without the extra ``tasks``. So the tasks' dependencies are
imported when a command runs.
"""
