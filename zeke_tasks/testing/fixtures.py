"""The fixtures for tests of Zeke's own tasks, and of tasks that ask the same AI and the same web.

They stand on ``zeke_tasks``, whose libraries are an extra: a test that asks for one without it is told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from zeke_queue.system.install_hints import install
from zeke_sim.testing.fixtures import wrong

if TYPE_CHECKING:
    from zeke_tasks.testing.ai import ScriptedAI
    from zeke_tasks.testing.web import ScriptedWeb


def scripted_ai() -> ScriptedAI:
    """Return an AI that answers by what it is asked, until it is told otherwise."""
    try:
        from zeke_tasks.testing.ai import ScriptedAI  # noqa: PLC0415 - it needs the extra
    except ImportError as error:
        _lacks("zeke_ai", error)
    return ScriptedAI()


def scripted_web() -> ScriptedWeb:
    """Return a web with nothing on it."""
    try:
        from zeke_tasks.testing.web import ScriptedWeb  # noqa: PLC0415 - as above
    except ImportError as error:
        _lacks("zeke_web", error)
    return ScriptedWeb()


def _lacks(fixture: str, error: ImportError) -> NoReturn:
    wrong(f"{fixture}: it stands on zeke_tasks, which can't be used here: {error}; {install('tasks')}")
