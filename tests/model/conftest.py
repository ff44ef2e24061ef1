"""How many examples the machine tries, in parts that are tests of their own.

They are the same each time, except with ``--hypothesis-profile=random``.
"""

from __future__ import annotations

import pytest

FEW = 24
"""Examples of ``nox -s tests``."""

PARTS = 4
"""Parts at least, since they differ in what they try."""

IN_A_PART = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--model-examples``; give it with the path: ``pytest tests/model --model-examples 5000``."""
    parser.addoption(
        "--model-examples",
        type=int,
        help=f"how many examples the model test tries; {FEW} otherwise",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide the examples: a part fits in the time that a test may take, and parts run side by side."""
    if "part" in metafunc.fixturenames:
        metafunc.parametrize("part", range(max(PARTS, _wanted(metafunc.config) // IN_A_PART)))


@pytest.fixture
def examples(request: pytest.FixtureRequest) -> int:
    """Return how many examples a part tries."""
    wanted = _wanted(request.config)
    return -(-wanted // max(PARTS, wanted // IN_A_PART))


def _wanted(config: pytest.Config) -> int:
    wanted: int = config.getoption("model_examples", default=None) or FEW
    return wanted
