"""Commands in messages for users, which work as printed on the database in use.

Of the options that name a database, only ``--embedded`` is repeated. ``--database`` may hold a password, so
it is omitted, and so is ``--schema``: the user adds them again.
"""

from __future__ import annotations


def install(*extras: str) -> str:
    """Return the command that installs extras: from a clone, since Zeke is not in a package registry yet.

    >>> install("tasks", "embedded")
    'python -m pip install ".[tasks,embedded]" in a clone of Zeke'
    """
    return f'python -m pip install ".[{",".join(extras)}]" in a clone of Zeke'


def on_same(command: str, *, embedded: bool) -> str:
    """Return a command for the database that the present command uses.

    Args:
        command: the command for the database of the environment.
        embedded: whether the present command has ``--embedded``.

    >>> on_same("zeke stories", embedded=True)
    'zeke stories --embedded'
    """
    return f"{command} --embedded" if embedded else command
