"""Values that several tests of the store use."""

from __future__ import annotations

from uuid import UUID

from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief, BriefDraft, Embedding, Spending
from zeke_tasks.store.highlights import Score
from zeke_tasks.store.playbooks import Playbook, RunEvent, Step

TEAM = UUID(int=21)
MODELS = Analysis(
    why_it_matters="It is faster.\nIt is smaller.",
    chili=3,
    confidence=0.855,
    state=AnalysisState.COMPLETED,
    model="gpt-5-nano",
    prompt_version="2",
    citations=[{"url": "https://a.example/", "n": 1}],
)
BRIEF = Brief("One.", "One. Two.", "One. Two. Three.", 170)
DRAFT = BriefDraft("It is faster.", "2", {"one_liner": "One.", "elevator": "One. Two. Three."})
VECTOR = Embedding("m", (1.0, 2.0))
SPENDING = Spending(UUID(int=51), 1, "analysis", "analyze-story", "m", 1, 2, None)
SCORE = Score(0.735, ("latency", "cache"), {"keywords": 0.16, "kind": 0.27})
STEPS = [Step("ingest", "ingest-oneoff", {"url": "https://a.example/"}), Step("pull", "ingest-pull")]
PLAYBOOK = Playbook(UUID(int=31), TEAM, "Daily", STEPS)
EVENT = RunEvent(UUID(int=41), 0, "run.created")
