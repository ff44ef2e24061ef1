"""The settings of the AI: what is refused before it can be told to anybody."""

from __future__ import annotations

import pytest

from zeke_queue.errors import BadSetting
from zeke_tasks.ai.settings import AISettings


@pytest.mark.parametrize(
    "url",
    [
        "https://bee:hunter2@a.example/v1",
        "http://hunter2@a.example",
        "https://:hunter2@a.example/v1",
        "HTTPS://bee:hunter2@[2001:db8::1]:8080/v1",
        "https://a.example\\@hunter2/v1",
    ],
)
def test_a_url_with_a_password_is_refused_and_the_password_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(BadSetting, match="OPENAI_BASE_URL") as caught:
        AISettings.load()
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://a.example/v1/@bees", "http://[::1]:11434/v1?to=a@b"])
def test_an_at_sign_elsewhere_is_no_password(url: str) -> None:
    assert AISettings.load(openai_base_url=url).openai_base_url == url


@pytest.mark.parametrize("url", ["http://[::1/v1", "http:///v1", "http://a.example:http/v1"])
def test_a_url_that_can_not_be_read_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match=r"OPENAI_BASE_URL.*it is no URL"):
        AISettings.load(openai_base_url=url)
