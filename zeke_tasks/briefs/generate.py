"""``generate-brief``: summarize a story in one line, in two sentences, and in a short paragraph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.ai.answers import Briefs
from zeke_tasks.ai.client import load_prompt
from zeke_tasks.ai.errors import AIMalformed
from zeke_tasks.ai_calls import asking
from zeke_tasks.briefs.variants import InvalidVariant, fit
from zeke_tasks.context import context_of
from zeke_tasks.payloads import GenerateBrief
from zeke_tasks.store.analysis import AnalysisState, Brief
from zeke_tasks.stories.require import require_story, text_of

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.analysis import Overlay

tasks = Catalog()

PROMPT: Final = load_prompt("generate-brief")


@tasks.task("generate-brief", concurrency_limit=10)
async def generate_brief(payload: GenerateBrief, job: JobContext) -> dict[str, Any]:
    """Write a story's brief with the AI; replace an existing one only if the payload requests it.

    A job that has stored a brief does not call the AI again, however often it is run. A model's brief always
    replaces a stub's, and a stub's never replaces a model's.
    """
    repository = context_of(job).repository
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        overlay = await rows.overlay(story.id)
        text = await text_of(rows, story.id)
    if overlay is None or not overlay.why_it_matters:
        raise Fail(
            f"Story {story.id} has no why_it_matters, which a brief needs; send analyze-story, which"
            " sends generate-brief"
        )
    anew = payload.reason != "new_story"
    if (known := _kept(overlay, job, anew=anew)) is not None:
        return _result(job, story.id, known, written=False)
    question = f"{overlay.why_it_matters}\n\n{story.title}\n\n{text}"
    async with asking(job) as ai:
        answer = await ai.ask("brief", PROMPT, question, Briefs)
        said = answer.value
        try:
            brief = fit(said.one_liner, said.two_liner, said.elevator, story=text, few=answer.stub)
        except InvalidVariant as unfit:
            raise AIMalformed(f"The brief can't be used: {unfit}") from unfit
    state = AnalysisState.STUB if answer.stub else AnalysisState.COMPLETED
    brief = replace(brief, state=state, briefed_by=job.id, prompt_version=PROMPT.version)
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        # From here on no other transaction can change the story's overlay.
        await rows.lock_story(story.id)
        now = await rows.overlay(story.id)
        await ai.note(rows)
        kept = _kept(now, job, anew=anew, stub=answer.stub)
        outdated = kept is None and (now is None or now.why_it_matters != overlay.why_it_matters)
        if not outdated and kept is None:
            await rows.put_brief(story.id, brief)
    if outdated:
        raise Retry(reason="The story was analysed again; write the brief from the new analysis")
    return _result(job, story.id, kept or brief, written=kept is None)


def _kept(overlay: Overlay | None, job: JobContext, *, anew: bool, stub: bool = False) -> Brief | None:
    """Return the existing brief if it is kept; None if a new one is needed.

    Args:
        overlay: has the existing brief.
        job: a brief that this job wrote is kept.
        anew: whether to replace an existing brief.
        stub: whether a stub would write the new one, which never replaces a model's.
    """
    brief = None if overlay is None else _brief_of(overlay)
    if brief is None or brief.briefed_by == job.id:
        return brief
    stays = (stub and not anew) if brief.state is AnalysisState.STUB else (stub or not anew)
    return brief if stays else None


def _brief_of(overlay: Overlay) -> Brief | None:
    one, two, elevator = overlay.brief_one_liner, overlay.brief_two_liner, overlay.brief_elevator
    if one is None or two is None or elevator is None or overlay.brief_state is None:
        return None
    saved = overlay.time_saved_seconds or 0
    by, prompt = overlay.briefed_by, overlay.brief_prompt_version
    return Brief(one, two, elevator, saved, overlay.brief_state, by, prompt)


def _result(job: JobContext, story_id: UUID, brief: Brief, *, written: bool) -> dict[str, Any]:
    saved = brief.time_saved_seconds
    job.logger.info("brief generated", storyId=str(story_id), written=written, timeSavedSeconds=saved)
    return {
        "storyId": story_id,
        "briefOneLiner": brief.one_liner,
        "briefTwoLiner": brief.two_liner,
        "briefElevator": brief.elevator,
        "timeSavedSeconds": saved,
        "briefState": brief.state.value,
    }
