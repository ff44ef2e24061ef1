"""The pytest plugin of ``zeke_tasks``: fixtures of a scripted AI and a scripted web.

pytest loads it wherever the package is installed, so it imports nothing but pytest until a test uses one of
its fixtures. The doubles need the libraries of ``zeke_tasks``, which are an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from zeke_tasks.testing.ai import ScriptedAI
    from zeke_tasks.testing.web import ScriptedWeb


@pytest.fixture
def zeke_ai() -> ScriptedAI:
    """An AI with answers set by the test, which records its calls."""
    try:
        from zeke_tasks.testing.ai import ScriptedAI  # noqa: PLC0415 - it needs the extra
    except ImportError as error:
        _fail_without_extra("zeke_ai", error)
    return ScriptedAI()


@pytest.fixture
def zeke_web() -> ScriptedWeb:
    """A web with answers set by the test, which records the requests."""
    try:
        from zeke_tasks.testing.web import ScriptedWeb  # noqa: PLC0415 - as above
    except ImportError as error:
        _fail_without_extra("zeke_web", error)
    return ScriptedWeb()


def _fail_without_extra(fixture: str, error: ImportError) -> NoReturn:
    from zeke_queue.system.install_hints import install  # noqa: PLC0415
    from zeke_sim.testing.fixtures import wrong  # noqa: PLC0415

    wrong(f"{fixture}: it stands on zeke_tasks, which can't be used here: {error}; {install('tasks')}")
