"""The settings of the AI: environment variables, like those of the queue."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator

from zeke_queue.errors import SettingsError
from zeke_queue.system.settings import Variables, checked_zone
from zeke_tasks.ai.budget import Budget
from zeke_tasks.store.budgets import DOLLARS_MAX

_KEY_MISSING: Final = (
    "OPENAI_API_KEY is not set, and {variable}=openai needs it. Set it to a key of OpenAI's, or to any word"
    " if OPENAI_BASE_URL names a server of your own that accepts any key. {otherwise}"
)

CALLS: Final = 3
"""Default of ``zeke_ai_calls``."""

_NO_URL: Final = "must be a URL such as https://api.openai.com/v1"


class AISettings(Variables):
    """Settings of the AI. Durations are seconds.

    Attributes:
        zeke_ai: what answers: ``openai``; ``stub``, which uses no AI; or ``auto`` for OpenAI if there is a
            key.
        zeke_embeddings: what embeds: ``openai``, ``stub``, ``wordllama`` (offline, an extra), or ``auto`` for
            the same as answers.
        openai_api_key: the key; a secret.
        openai_base_url: the URL of the API, of OpenAI or a compatible server. It must not contain a user or a
            password.
        openai_model: the model that answers.
        openai_embedding_model: the model that embeds.
        zeke_ai_timeout: limit of one request.
        zeke_ai_per_minute: limit of requests that one worker starts per minute.
        zeke_ai_at_once: limit of concurrent requests of one worker.
        zeke_ai_budget: dollars that the calls of each team may cost in a day, and those without a team; None
            for no limit.
        zeke_ai_budget_tz: the IANA zone whose midnight starts a day.
        zeke_ai_calls: limit of the calls by which one attempt of a job requests one result; it asks again at
            once if an answer is malformed, or lacks a part.
        zeke_ai_prices: a file with prices of models, which override the list prices.
    """

    zeke_ai: Literal["auto", "openai", "stub"] = "auto"
    zeke_embeddings: Literal["auto", "openai", "stub", "wordllama"] = "auto"
    openai_api_key: SecretStr | None = None
    openai_base_url: str = "https://api.openai.com/v1"
    openai_model: str = Field(default="gpt-5-nano", min_length=1)
    openai_embedding_model: str = Field(default="text-embedding-3-small", min_length=1)
    zeke_ai_timeout: float = Field(default=60.0, gt=0, le=3600)
    zeke_ai_per_minute: int = Field(default=1000, ge=1, le=1_000_000)
    zeke_ai_at_once: int = Field(default=8, ge=1, le=1000)
    zeke_ai_budget: Decimal | None = Field(default=None, ge=0, le=DOLLARS_MAX, allow_inf_nan=False)
    zeke_ai_budget_tz: str = "UTC"
    zeke_ai_calls: int = Field(default=CALLS, ge=1, le=100)
    zeke_ai_prices: Path | None = None

    @property
    def asks(self) -> Literal["openai", "stub"]:
        """What answers."""
        if self.zeke_ai == "auto":
            return "stub" if self.openai_api_key is None else "openai"
        return self.zeke_ai

    @property
    def embeds(self) -> Literal["openai", "stub", "wordllama"]:
        """What embeds."""
        return self.asks if self.zeke_embeddings == "auto" else self.zeke_embeddings

    @property
    def budget(self) -> Budget:
        """The budget of a team and day."""
        return Budget(self.zeke_ai_budget, ZoneInfo(self.zeke_ai_budget_tz))

    def require_key(self) -> str:
        """Return the API key.

        Raises:
            SettingsError: it is not set, although a setting names OpenAI.
        """
        if self.openai_api_key is not None:
            return self.openai_api_key.get_secret_value()
        if self.zeke_ai == "openai":
            raise SettingsError(
                _KEY_MISSING.format(
                    variable="ZEKE_AI",
                    otherwise="To work without an AI, set ZEKE_AI=stub; its results are marked as such.",
                )
            )
        raise SettingsError(
            _KEY_MISSING.format(
                variable="ZEKE_EMBEDDINGS",
                otherwise="To work without it, set ZEKE_EMBEDDINGS=stub, or wordllama.",
            )
        )

    @field_validator("openai_api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value().strip()
        if not text:
            return None
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise ValueError("must not contain spaces, control characters or letters outside ASCII")
        return SecretStr(text)

    @field_validator("openai_base_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        url = url.strip()
        try:
            parsed = urlsplit(url)
            readable = parsed.scheme in {"http", "https"} and parsed.hostname and parsed.port != 0
        except ValueError:
            # The original message may contain the URL, and with it a password, so it is not chained.
            raise ValueError(_NO_URL) from None
        if not readable or " " in url:
            raise ValueError(_NO_URL)
        if "@" in parsed.netloc:
            raise ValueError(
                "must not contain a user or password, which would be shown; remove all up to the @,"
                " and pass the server's key as OPENAI_API_KEY"
            )
        return url

    @field_validator("zeke_ai_budget_tz")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        return checked_zone(zone)

    @field_validator("zeke_ai", "zeke_embeddings", mode="before")
    @classmethod
    def _folds_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
