"""The AI of these tests, and YouTube: every video has captions, and the query ``bees`` finds some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from zeke_tasks.ai.answers import Analysis, Briefs
from zeke_tasks.ai.client import Answer, Embedded, M, Prompt, Usage
from zeke_tasks.testing import ai as testing
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, videos
from zeke_tasks.youtube import YouTube

ANALYSIS = Analysis(why_it_matters=["Bees dance.", "Others follow."], chili=3, confidence=0.8)
BRIEFS = Briefs(
    one_liner="Bees dance.",
    two_liner="Bees dance. Others follow, and so find the flowers that the dance tells them of.",
    elevator="Bees dance. Others follow. Flowers are found.",
)
ASKED = Usage("gpt-5-nano", 100, 20, 0.001)
EMBEDDED = Usage("text-embedding-3-small", 100, 0, 0.0001)
VECTOR = (0.5, 0.5, 0.5, 0.5)


class ScriptedAI(testing.ScriptedAI):
    """The product's double, with other answers, and with the usage of a model that costs something."""

    def __init__(self) -> None:
        super().__init__()
        self.put("analyze-story", ANALYSIS)
        self.put("generate-brief", BRIEFS)
        self.put("embed", VECTOR)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        return replace(await super().ask(prompt, text, answer), usage=ASKED)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        return replace(await super().embed(texts), model=EMBEDDED.model, usage=EMBEDDED)


FOUND: Final = tuple(videos(3, newest=datetime(2020, 1, 1, tzinfo=UTC), every=timedelta(days=1)))
"""What the query ``bees`` finds; the last one has no captions."""


def scripted_youtube() -> YouTube:
    """Return captions and a search that answer alike each time."""
    captions, search = ScriptedCaptions(), ScriptedSearch()
    captions.put(FOUND[-1].id, None)
    search.put("bees", *FOUND)
    return YouTube(captions, search)
