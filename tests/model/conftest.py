"""How many examples the machine tries."""

from __future__ import annotations

import pytest

IN_CI = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--model-examples``; give it with the path: ``pytest tests/model --model-examples 5000``."""
    parser.addoption(
        "--model-examples",
        type=int,
        help=f"how many examples the model test tries, others each time; {IN_CI} fixed ones otherwise",
    )


@pytest.fixture
def model_examples(request: pytest.FixtureRequest) -> int | None:
    """The number that was asked for, or None for the fixed ones that CI runs."""
    return request.config.getoption("model_examples", default=None)
