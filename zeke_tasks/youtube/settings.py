"""The settings of YouTube, which are environment variables like those of the queue."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from zeke_queue.system.settings import Variables


class YouTubeSettings(Variables):
    """What a deployment decides about YouTube.

    Attributes:
        youtube_api_key: of a Google project with the YouTube Data API, a secret; without one there are no
            searches, while channels need none.
        zeke_caption_languages: those in which captions are read, best first, with commas between them; a
            video that has none of these is read in what it has.
    """

    youtube_api_key: SecretStr | None = None
    zeke_caption_languages: str = "en"

    @property
    def caption_languages(self) -> tuple[str, ...]:
        """The languages, each once.

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
            raise ValueError("it holds blanks, control characters or letters that no key has")
        return SecretStr(text)

    @field_validator("zeke_caption_languages")
    @classmethod
    def _names_a_language(cls, text: str) -> str:
        if not text.replace(",", "").strip():
            raise ValueError("it names no language; write some with commas between them, such as en, de")
        return text
