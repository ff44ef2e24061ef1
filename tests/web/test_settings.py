"""Settings of the API: defaults, and what is refused by its variable's name."""

from __future__ import annotations

import pytest

from zeke_queue.errors import BadSetting
from zeke_queue.web import WebSettings


def test_by_default_this_machine_alone_is_served_within_the_limits_of_the_earlier_system() -> None:
    settings = WebSettings.load()
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 3003)
    assert (settings.api_trigger_limit, settings.api_trigger_window) == (100, 600)
    assert settings.api_stream_timeout == 300
    assert settings.api_cors_origins == ()


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_CORS_ORIGINS", " https://App.example.org ,http://localhost:5173,")
    monkeypatch.setenv("API_TRUSTED_PROXIES", "10.0.0.1")
    settings = WebSettings.load()
    assert settings.api_cors_origins == ("https://app.example.org", "http://localhost:5173")
    assert settings.api_trusted_proxies == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "70000"),
        ("API_PORT", "http"),
        ("API_CORS_ORIGINS", "*"),
        ("API_CORS_ORIGINS", "app.example.org"),
        ("API_CORS_ORIGINS", "https://app.example.org/path"),
        ("API_TRUSTED_PROXIES", "nonsense"),
        ("API_TRUSTED_PROXIES", "10.0.0.0/24,*"),
        ("API_TRIGGER_LIMIT", "-1"),
        ("API_STREAM_TIMEOUT", "0"),
        ("API_BODY_MAX", "10"),
        ("API_SECURE_COOKIES", "sometimes"),
        ("API_DASHBOARD", "perhaps"),
    ],
)
def test_what_can_not_be_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=f"^{name}: "):
        WebSettings.load()
