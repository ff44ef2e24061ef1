"""``analyze-story``: have the AI say why a story matters, and place it among others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_tasks.ai.answers import Analysis as Answered
from zeke_tasks.ai.client import load_prompt
from zeke_tasks.asking import asking
from zeke_tasks.context import context_of
from zeke_tasks.payloads import AnalyzeStory, ExtractHighlights, GenerateBrief
from zeke_tasks.store.analysis import Analysis, AnalysisState, Embedding
from zeke_tasks.stories.require import require_story, text_of

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.transaction import QueueTransaction
    from zeke_tasks.ai.client import Answer
    from zeke_tasks.store.analysis import Overlay

tasks = Catalog()

PROMPT: Final = load_prompt("analyze-story")


@tasks.task("analyze-story", concurrency_limit=5)
async def analyze_story(payload: AnalyzeStory, job: JobContext) -> dict[str, Any]:
    """Have the AI say why a story matters, and place it among others.

    Nobody asks it twice with the same prompt, unless a person wants it so.
    """
    repository, again = context_of(job).repository, payload.trigger == "manual"
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        overlay = await rows.overlay(story.id)
        text = f"{story.title}\n\n{await text_of(rows, story.id)}"
    if not again and _is_there(overlay):
        return _told(job, story.id, overlay, skipped=True)
    async with asking(job) as ai:
        # The embedding costs next to nothing, so it is what is lost if the other call fails.
        embedded = await ai.embed("embedding", text)
        answer = await ai.ask("analysis", PROMPT, text, Answered)
    analysis = _analysis(answer)
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        # From here on nobody else can make an analysis of it: of two jobs, the second sees the first one's.
        await rows.lock_story(story.id)
        before = await rows.overlay(story.id)
        await ai.note(rows)
        kept = (again or not _is_there(before, analysis.state)) and await rows.put_analysis(
            story.id, analysis
        )
        if kept:
            await rows.put_embedding(story.id, Embedding(embedded.model, embedded.vectors[0]))
            await _send_what_follows(transaction, job, story.id, anew=before is not None)
        overlay = await rows.overlay(story.id)
    return _told(job, story.id, overlay, skipped=not kept)


def _is_there(overlay: Overlay | None, state: AnalysisState = AnalysisState.COMPLETED) -> bool:
    """Tell whether an analysis with this prompt is there, by a model or by what is as good as one."""
    return (
        overlay is not None
        and overlay.prompt_version == PROMPT.version
        and overlay.analysis_state in (AnalysisState.COMPLETED, state)
    )


def _analysis(answer: Answer[Answered]) -> Analysis:
    said = answer.value
    return Analysis(
        why_it_matters="\n".join(said.why_it_matters),
        chili=said.chili,
        confidence=said.confidence,
        citations=[citation.model_dump(mode="json") for citation in said.citations],
        state=AnalysisState.STUB if answer.stub else AnalysisState.COMPLETED,
        model=answer.usage.model,
        prompt_version=PROMPT.version,
    )


async def _send_what_follows(
    transaction: QueueTransaction, job: JobContext, story_id: UUID, *, anew: bool
) -> None:
    """Send the jobs that go on from an analysis. Scoring is not among them: it follows the extraction."""
    brief = GenerateBrief(story_id=story_id, reason="regenerate" if anew else "new_story")
    await transaction.send("generate-brief", brief, id=job.child_id("generate-brief"), priority=job.priority)
    extract = ExtractHighlights(story_id=story_id)
    await transaction.send(
        "extract-highlights", extract, id=job.child_id("extract-highlights"), priority=job.priority
    )


def _told(job: JobContext, story_id: UUID, overlay: Overlay | None, *, skipped: bool) -> dict[str, Any]:
    told = {
        "analysisState": overlay.analysis_state.value if overlay else None,
        "chili": overlay.chili if overlay else None,
        "skipped": skipped,
    }
    job.logger.info("story analyzed", storyId=str(story_id), **told)
    return {"storyId": story_id, **told}
