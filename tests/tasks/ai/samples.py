"""Requests of the tests, and their answers."""

from __future__ import annotations

import json

from pydantic import BaseModel

from zeke_tasks.ai import Prompt

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
    name: str
