"""What the settings make of YouTube."""

from __future__ import annotations

import pytest

from tests.cases import check_each
from tests.clocks import FrozenClock
from zeke_queue.errors import SettingsError
from zeke_tasks.fetch import Permanent
from zeke_tasks.testing.web import ScriptedWeb
from zeke_tasks.youtube.choose import open_youtube
from zeke_tasks.youtube.settings import YouTubeSettings

KEY = "AIza-hunter2"


def test_search_needs_a_key() -> None:
    assert open_youtube(YouTubeSettings.load(), ScriptedWeb(), FrozenClock()).search is None


async def test_search_goes_through_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOUTUBE_API_KEY", f" {KEY}\n")
    web = ScriptedWeb()
    youtube = open_youtube(YouTubeSettings.load(), web, FrozenClock())
    assert youtube.search is not None
    with pytest.raises(Permanent):
        await youtube.search.search("bees", order="date", duration="any", limit=1)
    assert web.asked[0].url.endswith(f"&key={KEY}")


def test_caption_languages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(written: str, *languages: str) -> None:
        monkeypatch.setenv("ZEKE_CAPTION_LANGUAGES", written)
        assert YouTubeSettings.load().caption_languages == languages

    assert YouTubeSettings.load().caption_languages == ("en",)
    check_each([("", "en"), ("de, en,DE,", "de", "en")], check)


def test_invalid_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(variable: str, value: str) -> None:
        with monkeypatch.context() as environment:
            environment.setenv(variable, value)
            with pytest.raises(SettingsError, match=variable) as raised:
                YouTubeSettings.load()
        assert "nter2" not in str(raised.value)

    keys = [("YOUTUBE_API_KEY", "hunter2 hunter3"), ("YOUTUBE_API_KEY", "hünter2")]
    check_each([*keys, ("ZEKE_CAPTION_LANGUAGES", ",")], check)


def test_key_is_not_shown() -> None:
    assert KEY not in repr(YouTubeSettings.load(youtube_api_key=KEY))
