"""``analyze-story``: the AI says why a story matters, and embeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.ai.answers import Analysis as Answered
from zeke_tasks.ai.client import load_prompt
from zeke_tasks.ai_calls import asking
from zeke_tasks.context import context_of
from zeke_tasks.payloads import AnalyzeStory, ExtractHighlights, GenerateBrief
from zeke_tasks.store.analysis import Analysis, AnalysisState, Embedding
from zeke_tasks.stories.require import require_story, text_of

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.task.senders import Transaction
    from zeke_tasks.ai.client import Answer
    from zeke_tasks.store.analysis import Overlay
    from zeke_tasks.store.model import Story

tasks = Catalog()

PROMPT: Final = load_prompt("analyze-story")

PART: Final = "[What follows is only a part of the article.]"
"""Precedes a text of which the rest could not be read, in the request to the AI."""

EMBEDDING: Final = "embedding"
"""The purpose of the embedding call in the recorded usage."""


@tasks.task("analyze-story", concurrency_limit=5)
async def analyze_story(payload: AnalyzeStory, job: JobContext) -> dict[str, Any]:
    """Analyse a story with the AI: why it matters, and its embedding.

    A story is not analysed twice with the same prompt, unless a user requests it; and a job that has stored
    an analysis does not call the AI again, however often it is run.
    """
    repository, again = context_of(job).repository, payload.trigger == "manual"
    placed: Embedding | None = None
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        overlay = await rows.overlay(story.id)
        parts = (story.title, PART if story.is_partial else "", await text_of(rows, story.id))
        text = "\n\n".join(filter(None, parts))
        was_placed = any(one.purpose == EMBEDDING for one in await rows.spending(job.id))
    if _is_done(overlay, job, again=again):
        return _result(job, story, overlay, skipped=True)
    async with asking(job) as ai:
        if not was_placed:
            embedded = await ai.embed(EMBEDDING, text)
            placed = Embedding(embedded.model, embedded.vectors[0])
            if not embedded.stub:
                # The job may be snoozed before its next call, so the embedding is stored at once.
                async with job.transaction() as transaction:
                    rows = repository.within(transaction)
                    await rows.put_embedding(story.id, placed)
                    await ai.note(rows)
                placed = None
        answer = await ai.ask("analysis", PROMPT, text, Answered)
    analysis = _analysis(answer, job)
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        # From here on no other transaction can store an analysis: of two jobs, the second sees the first
        # one's.
        await rows.lock_story(story.id)
        before = await rows.overlay(story.id)
        await ai.note(rows)
        done = _is_done(before, job, again=again, state=analysis.state)
        kept = not done and await rows.put_analysis(story.id, analysis)
        if kept:
            if placed is not None:
                await rows.put_embedding(story.id, placed)
            await _send_follow_ups(transaction, job, story.id, anew=before is not None)
        overlay = await rows.overlay(story.id)
    return _result(job, story, overlay, skipped=not kept)


def _is_done(
    overlay: Overlay | None, job: JobContext, *, again: bool, state: AnalysisState = AnalysisState.COMPLETED
) -> bool:
    """Return whether the existing analysis is sufficient.

    Args:
        overlay: has the existing analysis.
        job: an analysis made by this job is sufficient.
        again: whether to replace an existing analysis; if not, one with the current prompt is
            sufficient.
        state: the state of the new analysis; a model's is sufficient, and any that is as good as the new one.
    """
    if overlay is None:
        return False
    if overlay.analysed_by == job.id:
        return True
    same_prompt = overlay.prompt_version == PROMPT.version
    return not again and same_prompt and overlay.analysis_state in (AnalysisState.COMPLETED, state)


def _analysis(answer: Answer[Answered], job: JobContext) -> Analysis:
    said = answer.value
    return Analysis(
        why_it_matters="\n".join(said.why_it_matters),
        chili=said.chili,
        confidence=said.confidence,
        citations=[citation.model_dump(mode="json") for citation in said.citations],
        state=AnalysisState.STUB if answer.stub else AnalysisState.COMPLETED,
        model=answer.usage.model,
        prompt_version=PROMPT.version,
        analysed_by=job.id,
    )


async def _send_follow_ups(transaction: Transaction, job: JobContext, story_id: UUID, *, anew: bool) -> None:
    """Send the jobs that follow an analysis, except scoring, which follows the extraction.

    Their ids depend on the attempt: if another job's analysis replaced this one's and this job runs again,
    its new analysis is followed by a new brief.
    """
    brief = GenerateBrief(story_id=story_id, reason="regenerate" if anew else "new_story")
    extract = ExtractHighlights(story_id=story_id)
    for task, payload in (("generate-brief", brief), ("extract-highlights", extract)):
        child_id = job.child_id(f"{task} {job.attempt}")
        await transaction.send(task, payload, id=child_id, priority=job.priority)


def _result(job: JobContext, story: Story, overlay: Overlay | None, *, skipped: bool) -> dict[str, Any]:
    told = {
        "analysisState": overlay.analysis_state.value if overlay else None,
        "chili": overlay.chili if overlay else None,
        "isOfPart": story.is_partial,
        "skipped": skipped,
    }
    job.logger.info("story analyzed", storyId=str(story.id), **told)
    return {"storyId": story.id, **told}
