"""What the settings make of YouTube."""

from __future__ import annotations

import pytest

from tests.clocks import FrozenClock
from tests.tasks.scripted_web import ScriptedWeb
from zeke_queue.errors import BadSetting
from zeke_tasks.web import Permanent
from zeke_tasks.youtube.choose import open_youtube
from zeke_tasks.youtube.settings import YouTubeSettings

KEY = "AIza-hunter2"


def test_without_a_key_nobody_searches() -> None:
    assert open_youtube(YouTubeSettings.load(), ScriptedWeb(), FrozenClock()).search is None


async def test_with_a_key_searches_go_through_the_web(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOUTUBE_API_KEY", f" {KEY}\n")
    web = ScriptedWeb()
    youtube = open_youtube(YouTubeSettings.load(), web, FrozenClock())
    assert youtube.search is not None
    with pytest.raises(Permanent):
        await youtube.search.search("bees", order="date", duration="any", limit=1)
    assert web.asked[0].url.endswith(f"&key={KEY}")


@pytest.mark.parametrize(
    ("written", "languages"), [(None, ("en",)), ("", ("en",)), ("de, en,DE,", ("de", "en"))]
)
def test_captions_are_read_in_the_languages_that_are_set(
    monkeypatch: pytest.MonkeyPatch, written: str | None, languages: tuple[str, ...]
) -> None:
    if written is not None:
        monkeypatch.setenv("ZEKE_CAPTION_LANGUAGES", written)
    assert YouTubeSettings.load().caption_languages == languages


@pytest.mark.parametrize(
    ("variable", "value"),
    [("YOUTUBE_API_KEY", "hunter2 hunter3"), ("YOUTUBE_API_KEY", "hünter2"), ("ZEKE_CAPTION_LANGUAGES", ",")],
)
def test_a_setting_that_can_not_be_read_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSetting, match=variable) as raised:
        YouTubeSettings.load()
    assert "nter2" not in str(raised.value)


def test_the_key_is_shown_nowhere() -> None:
    assert KEY not in repr(YouTubeSettings.load(youtube_api_key=KEY))
