"""The private parts of pytest and Hypothesis that tests with ``@given`` need, since there are no public ones.

Checked with pytest 9.2.0 and Hypothesis 6.170.17. After an update of either, run the tests in
``tests/sim/test_hypothesis.py`` and ``tests/sim/test_hypothesis_fixtures.py``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import pytest

SETTINGS: Final = "_hypothesis_internal_use_settings"
"""The attribute of a test in which Hypothesis keeps its settings."""

REPRODUCED: Final = "_hypothesis_internal_use_reproduce_failure"
"""The attribute in which it keeps the example that a test is to reproduce."""


# Of pytest.


def fixture_info(item: pytest.Function) -> Any:
    """Return the names and definitions of an item's fixtures."""
    return getattr(item, "_fixtureinfo")  # noqa: B009


def request_of(item: pytest.Function) -> Any:
    """Return an item's ``request``."""
    return getattr(item, "_request")  # noqa: B009


def setup_state(session: pytest.Session) -> Any:
    """Return the state that sets up nodes and tears them down."""
    return getattr(session, "_setupstate")  # noqa: B009


def is_parameter(definition: Any) -> bool:
    """Return whether a fixture's definition is a value of ``parametrize``."""
    return definition.func.__name__ == "get_direct_param_fixture_func"


@contextmanager
def restored_stash(item: pytest.Item) -> Generator[None]:
    """Put back into an item's stash what fixtures delete within the block, as ``tmp_path`` does."""
    before: dict[Any, Any] = dict(getattr(item.stash, "_storage"))  # noqa: B009
    try:
        yield
    finally:
        for key, value in before.items():
            item.stash.setdefault(key, value)


def clear_caplog(item: pytest.Item) -> None:
    """Delete the records that the fixture ``caplog`` of an item shows."""
    from _pytest.logging import caplog_handler_key  # noqa: PLC0415 - a test is running, so it is loaded

    handler = item.stash.get(caplog_handler_key, None)
    if handler is not None:
        handler.clear()


# Of Hypothesis, which is loaded when a test of it runs.


def build_context() -> Any:
    """Return the context of the present example: its ``data``, and ``is_final``."""
    from hypothesis.control import current_build_context  # noqa: PLC0415 - as above

    return current_build_context()


def encoded(choices: Sequence[Any]) -> str:
    """Return an example's choices as text for ``reproduce_failure``."""
    from hypothesis.core import encode_failure  # noqa: PLC0415 - as above

    return encode_failure(choices).decode()


def has_own_deadline(settings: Any, default: Any) -> bool:
    """Return whether settings were made with ``deadline=``; an inherited one is the default's own object."""
    return settings.deadline is not default.deadline


def attributes(function: Any) -> Mapping[str, Any]:
    """Return the attributes by which Hypothesis adjusts a test."""
    return {name: getattr(function, name, None) for name in (SETTINGS, REPRODUCED)}
