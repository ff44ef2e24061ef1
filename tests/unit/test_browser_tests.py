"""The browser tests are separate: others need no browser, and a missing one is reported with advice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.browser import chromium
from tests.cases import check_each
from tests.conftest import pytest_ignore_collect
from tests.tidy import ROOT

BROWSER = ROOT / "tests" / "browser"


def test_browser_tests_are_collected_only_where_their_folder_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)

    def check(named: list[str], left_out: bool | None) -> None:  # noqa: FBT001
        config: Any = SimpleNamespace(args=named)
        assert pytest_ignore_collect(BROWSER, config) is left_out
        assert pytest_ignore_collect(ROOT / "tests" / "web", config) is None

    check_each(
        [
            (["tests"], True),
            (["tests/web", "tests/unit/test_browser_tests.py"], True),
            (["tests/browser"], None),
            (["tests/browser/test_jobs.py::test_id_is_copied"], None),
        ],
        check,
    )


def test_missing_browser_is_reported_with_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(chromium.NoBrowser, match="apt-get install chromium"):
        chromium.find()
    there = tmp_path / "google-chrome"
    there.touch(mode=0o755)
    assert chromium.find() == str(there)
