"""Settings of the API: defaults, and invalid values, which are reported by variable."""

from __future__ import annotations

import pytest

from tests.cases import check_each
from zeke_queue.errors import SettingsError
from zeke_queue.web import WebSettings


def test_defaults_serve_this_machine_within_the_limits_of_the_earlier_system() -> None:
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


def test_invalid_setting_is_reported_by_its_variable() -> None:
    def check(name: str, value: str) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(SettingsError, match=f"^{name}: "):
                WebSettings.load()

    wrong = {
        "API_PORT": ["70000", "http"],
        "API_CORS_ORIGINS": ["*", "app.example.org", "https://app.example.org/path"],
        "API_TRUSTED_PROXIES": ["nonsense", "10.0.0.0/24,*"],
        "API_TRIGGER_LIMIT": ["-1"],
        "API_STREAM_TIMEOUT": ["0"],
        "API_BODY_MAX": ["10"],
        "API_SECURE_COOKIES": ["sometimes"],
        "API_DASHBOARD": ["perhaps"],
    }
    check_each([(name, value) for name, values in wrong.items() for value in values], check)
