"""How many examples the machine tries, in parts that are tests of their own."""

from __future__ import annotations

import pytest

IN_CI = 200
IN_A_PART = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--model-examples``; give it with the path: ``pytest tests/model --model-examples 5000``."""
    parser.addoption(
        "--model-examples",
        type=int,
        help=f"how many examples the model test tries, others each time; {IN_CI} fixed ones otherwise",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide the examples: a part fits in the time that a test may take, and parts run side by side."""
    if "part" in metafunc.fixturenames:
        wanted: int = metafunc.config.getoption("model_examples", default=None) or IN_CI
        metafunc.parametrize("part", range(max(1, wanted // IN_A_PART)))


@pytest.fixture
def fixed(request: pytest.FixtureRequest) -> bool:
    """Tell whether the examples are those of CI, the same each time."""
    return request.config.getoption("model_examples", default=None) is None
