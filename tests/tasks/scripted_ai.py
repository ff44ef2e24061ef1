"""An AI with scripted answers, which counts as a model and records its calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from zeke_tasks.ai.answers import Analysis, Briefs
from zeke_tasks.ai.client import Answer, Embedded, M, Prompt, Usage

ANALYSIS = Analysis(why_it_matters=["Bees dance.", "Others follow."], chili=3, confidence=0.8)
BRIEFS = Briefs(
    one_liner="Bees dance.",
    two_liner="Bees dance. Others follow, and so find the flowers that the dance tells them of.",
    elevator="Bees dance. Others follow. Flowers are found.",
)
ASKED = Usage("gpt-5-nano", 100, 20, 0.001)
EMBEDDED = Usage("text-embedding-3-small", 100, 0, 0.0001)
VECTOR = (0.5, 0.5, 0.5, 0.5)


class Asked(NamedTuple):
    """A call: the prompt's name, or ``embed``, and the text."""

    what: str
    text: str


class ScriptedAI:
    """Answers each call of a kind with its scripted answers: each once, and the last one repeatedly.

    Attributes:
        asked: the calls, in order.
        before: is awaited before each answer, for example to make something happen meanwhile.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self._answers: dict[str, list[Analysis | Briefs | Exception | None]] = {
            "analyze-story": [ANALYSIS],
            "generate-brief": [BRIEFS],
            "embed": [None],
        }

    def put(self, what: str, *answers: Analysis | Briefs | Exception | None) -> None:
        """Set the answers of a prompt, or of ``embed``; None stands for a vector."""
        self._answers[what] = list(answers)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Answer."""
        found = await self._next(prompt.name, text)
        assert isinstance(found, answer)
        return Answer(found, ASKED, stub=False)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed."""
        for text in texts:
            await self._next("embed", text)
        return Embedded((VECTOR,) * len(texts), EMBEDDED.model, len(VECTOR), EMBEDDED, stub=False)

    async def _next(self, what: str, text: str) -> Analysis | Briefs | None:
        self.asked.append(Asked(what, text))
        if self.before is not None:
            await self.before()
        answers = self._answers[what]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer
