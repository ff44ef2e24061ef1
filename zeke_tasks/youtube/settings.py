"""The settings of YouTube: environment variables, like those of the queue."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from zeke_queue.system.settings import Variables


class YouTubeSettings(Variables):
    """Settings of YouTube.

    Attributes:
        youtube_api_key: key of a Google project with the YouTube Data API, a secret; needed for searches but
            not for channels.
        zeke_caption_languages: preferred languages of captions, best first, separated by commas; a video
            without these is read in another language.
    """

    youtube_api_key: SecretStr | None = None
    zeke_caption_languages: str = "en"

    @property
    def caption_languages(self) -> tuple[str, ...]:
        """The languages, without duplicates.

        >>> YouTubeSettings(zeke_caption_languages="de, en").caption_languages
        ('de', 'en')
        """
        named = (language.strip().lower() for language in self.zeke_caption_languages.split(","))
        return tuple(dict.fromkeys(language for language in named if language))

    @field_validator("youtube_api_key")
    @classmethod
    def _is_one_word(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value().strip() if key is not None else ""
        if not text:
            return None
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise ValueError("must not contain spaces, control characters or letters outside ASCII")
        return SecretStr(text)

    @field_validator("zeke_caption_languages")
    @classmethod
    def _names_a_language(cls, text: str) -> str:
        if not text.replace(",", "").strip():
            raise ValueError("it names no language; write some with commas between them, such as en, de")
        return text
