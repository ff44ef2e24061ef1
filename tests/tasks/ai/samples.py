"""Requests of the tests, and their answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel

from zeke_tasks.ai import Answer, Embedded, M, Prompt, Usage

PROMPT = Prompt("analyze-story", "1", "Say why it matters.")
TEXT = (
    "A new release of the database is twice as fast. It reads indexes backwards. Nothing has to be changed."
)
ANALYSIS = {
    "why_it_matters": ["Queries are twice as fast.", "Nothing has to be changed."],
    "chili": 3,
    "confidence": 0.75,
    "citations": [{"quote": "It reads indexes backwards.", "url": "https://db.example/notes"}],
}
ANALYSIS_TEXT = json.dumps(ANALYSIS)
BRIEFS = {"one_liner": "It is fast.", "two_liner": "It is fast. Take it.", "elevator": "It is. So. Fast."}


class Colour(BaseModel):
    """A form that no prompt of ours asks for."""

    name: str


class Scripted:
    """A client that returns configured answers, and records its calls."""

    def __init__(self, *outcomes: BaseModel | Exception) -> None:
        self.texts: list[str] = []
        self._outcomes = list(outcomes)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:  # noqa: ARG002 - a client
        self.texts.append(text)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, answer)
        return Answer(outcome, Usage("scripted", 1, 1, None), stub=False)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.texts.extend(texts)
        return Embedded(
            tuple((1.0,) for _ in texts), "scripted", 1, Usage("scripted", 1, 0, None), stub=False
        )
