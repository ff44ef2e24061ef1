"""The settings of the AI: what is refused before it can be told to anybody."""

from __future__ import annotations

import pytest

from tests.cases import check_each
from zeke_queue.errors import BadSetting
from zeke_tasks.ai.settings import AISettings


def test_url_with_a_password_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(url: str) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        with pytest.raises(BadSetting, match="OPENAI_BASE_URL") as caught:
            AISettings.load()
        assert "OPENAI_API_KEY" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    urls = [
        "https://bee:hunter2@a.example/v1",
        "http://hunter2@a.example",
        "https://:hunter2@a.example/v1",
        "HTTPS://bee:hunter2@[2001:db8::1]:8080/v1",
        "https://a.example\\@hunter2/v1",
    ]
    check_each(urls, check)


def test_at_sign_in_path_or_query_is_allowed() -> None:
    def check(url: str) -> None:
        assert AISettings.load(openai_base_url=url).openai_base_url == url

    check_each(["https://a.example/v1/@bees", "http://[::1]:11434/v1?to=a@b"], check)


def test_invalid_url_is_refused() -> None:
    def check(url: str) -> None:
        with pytest.raises(BadSetting, match=r"OPENAI_BASE_URL.*it is no URL"):
            AISettings.load(openai_base_url=url)

    check_each(["http://[::1/v1", "http:///v1", "http://a.example:http/v1"], check)
