"""``--sample FOLDER=N`` keeps N tests of a folder, always the same ones, and leaves out its others.

``nox -s tests`` gives it for folders whose tests all run in a share of ``nox -s nightly``. ``--keep FILE``
exempts a file of such a folder.
"""

from __future__ import annotations

from zlib import crc32

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sample", action="append", metavar="FOLDER=N", default=[], help="keep N tests of this folder"
    )
    parser.addoption(
        "--keep", action="append", metavar="FILE", default=[], help="keep all of this file besides"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the options leave out; the processes of a run choose alike."""
    left_out: set[str] = set()
    samples: list[str] = config.getoption("--sample") or []
    kept: list[str] = config.getoption("--keep") or []
    for option in samples:
        folder, equals, number = option.partition("=")
        if not equals or not number.isdecimal():
            raise pytest.UsageError(f"--sample: must be FOLDER=N, got {option!r}")
        sampled = [one.nodeid for one in items if drawn(one.nodeid, folder, kept)]
        # A test keeps its position in this order when other tests are added.
        left_out.update(sorted(sampled, key=lambda nodeid: crc32(nodeid.encode()))[int(number) :])
    if left_out:
        config.hook.pytest_deselected(items=[one for one in items if one.nodeid in left_out])
        items[:] = [one for one in items if one.nodeid not in left_out]


def drawn(nodeid: str, folder: str, kept: list[str]) -> bool:
    """Return whether a test of a folder takes part in the draw."""
    file = nodeid.partition("::")[0]
    return file.startswith(f"{folder}/") and file not in kept
