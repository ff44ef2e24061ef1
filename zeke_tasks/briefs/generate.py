"""``generate-brief``: summarize a story in one line, in two sentences, and in a short paragraph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.ai.answers import briefs_form
from zeke_tasks.ai.client import load_prompt
from zeke_tasks.ai.errors import AIMalformed, AIRefused
from zeke_tasks.ai_calls import asking
from zeke_tasks.briefs.variants import fit, time_saved
from zeke_tasks.context import context_of
from zeke_tasks.error_policy import AI_BAD_ANSWERS, verdict
from zeke_tasks.payloads import GenerateBrief
from zeke_tasks.store.analysis import VARIANTS, AnalysisState, Brief, BriefDraft
from zeke_tasks.stories.require import require_story, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_tasks.ai.client import Prompt
    from zeke_tasks.ai_calls import Asking
    from zeke_tasks.store.analysis import Overlay
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

PROMPT: Final = load_prompt("generate-brief")

PURPOSE: Final = "brief"
"""The purpose of the calls in the recorded usage."""


class Asked(NamedTuple):
    """What the AI is asked about: a story with its analysis."""

    story_id: UUID
    why_it_matters: str
    question: str


class Written(NamedTuple):
    """Valid variants by name, whether the stub wrote them, and why others are missing."""

    variants: Mapping[str, str]
    stub: bool
    reason: str


@tasks.task("generate-brief", concurrency_limit=10)
async def generate_brief(payload: GenerateBrief, job: JobContext) -> dict[str, Any]:
    """Write a story's brief with the AI; replace an existing one only if the payload requests it.

    Each variant is checked by itself. Those as requested are kept, also for later attempts and jobs, and the
    AI is asked for the others only. A brief without those that the AI does not write as requested is stored
    too, unless the story has a whole one, and the job is retried for the others, at most `AI_BAD_ANSWERS`
    times.

    A job that has stored a whole brief does not call the AI again, however often it is run. A model's brief
    always replaces a stub's, and a stub's never replaces a model's.
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
    asked = Asked(story.id, overlay.why_it_matters, f"{overlay.why_it_matters}\n\n{story.title}\n\n{text}")
    async with asking(job) as ai:
        written = await _write(job, ai, asked, _drafted(overlay, asked))
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        # From here on no other transaction can change the story's overlay.
        await rows.lock_story(story.id)
        now = await rows.overlay(story.id)
        await ai.note(rows)
        kept = _kept(now, job, anew=anew, stub=written.stub)
        outdated = kept is None and _is_outdated(now, asked)
        if not written.stub:
            # Another job may have stored valid variants meanwhile.
            written = written._replace(variants={**_drafted(now, asked), **written.variants})
        brief = _brief(written, text, job)
        stays = bool(brief.missing) and _is_whole(now)
        if not outdated and kept is None:
            if not written.stub:
                await _put_draft(rows, asked, written.variants if brief.missing else {})
            if not stays:
                await rows.put_brief(story.id, brief)
    if outdated:
        raise _outdated()
    if kept is None and brief.missing and (stays or job.retry_count < AI_BAD_ANSWERS):
        error = AIMalformed(f"The brief lacks {' and '.join(brief.missing)}: {written.reason}")
        raise verdict(error, job) or error
    return _result(job, story.id, kept or brief, written=kept is None)


async def _write(job: JobContext, ai: Asking, asked: Asked, drafted: Mapping[str, str]) -> Written:
    """Ask the AI for the variants that are missing, until all are valid or the limit of calls is reached.

    Raises:
        AIError: no variant is valid, or the next call failed for another reason than its answer.
    """
    valid, reasons, stub, reason = dict(drafted), dict[str, str](), False, ""
    while missing := tuple(name for name in VARIANTS if name not in valid):
        try:
            answer = await ai.ask(PURPOSE, _prompt(missing, reasons), asked.question, briefs_form(missing))
        except (AIMalformed, AIRefused) as error:
            if not valid:
                raise
            reason = error.reason
            break
        fitted, reasons = fit(answer.value.by_name(), few=answer.stub)
        if answer.stub and drafted:
            # The stub's variants are not mixed with a model's.
            return await _write(job, ai, asked, {})
        valid, stub, reason = {**valid, **fitted}, answer.stub, _listed(reasons)
        if stub or not reasons or not ai.may_call(PURPOSE):
            break
        if fitted:
            valid = await _keep_draft(job, ai, asked, valid)
    if not valid:
        raise AIMalformed(f"The brief can't be used: {reason}")
    return Written(valid, stub, reason)


async def _keep_draft(job: JobContext, ai: Asking, asked: Asked, valid: Mapping[str, str]) -> dict[str, str]:
    """Store valid variants with their costs, and return them with those that another job has stored.

    Raises:
        Retry: the story was analysed again.
    """
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        await rows.lock_story(asked.story_id)
        now = await rows.overlay(asked.story_id)
        await ai.note(rows)
        outdated = _is_outdated(now, asked)
        kept = {**_drafted(now, asked), **valid}
        if not outdated:
            await _put_draft(rows, asked, kept)
    if outdated:
        raise _outdated()
    return kept


async def _put_draft(rows: Rows, asked: Asked, variants: Mapping[str, str]) -> None:
    draft = BriefDraft(asked.why_it_matters, PROMPT.version, variants) if variants else None
    await rows.put_brief_draft(asked.story_id, draft)


def _drafted(overlay: Overlay | None, asked: Asked) -> dict[str, str]:
    """Return the variants of the existing draft, if it was written from the same analysis and prompt."""
    draft = None if overlay is None else overlay.brief_draft
    wanted = (asked.why_it_matters, PROMPT.version)
    return dict(draft.variants) if draft and (draft.why_it_matters, draft.prompt_version) == wanted else {}


def _is_outdated(now: Overlay | None, asked: Asked) -> bool:
    return now is None or now.why_it_matters != asked.why_it_matters


def _outdated() -> Retry:
    return Retry(reason="The story was analysed again; write the brief from the new analysis")


def _prompt(missing: tuple[str, ...], reasons: Mapping[str, str]) -> Prompt:
    """Return the prompt for the missing variants, which says what was wrong with earlier ones."""
    if len(missing) == len(VARIANTS) and not reasons:
        return PROMPT
    wanted = f"Answer with these variants only, since the others are done: {', '.join(missing)}."
    wrong = f" An earlier answer was not as requested: {_listed(reasons)}." if reasons else ""
    return replace(PROMPT, text=f"{PROMPT.text}\n\n{wanted}{wrong}")


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {reason}" for name, reason in reasons.items())


def _brief(written: Written, story: str, job: JobContext) -> Brief:
    one, two, elevator = (written.variants.get(name) for name in VARIANTS)
    return Brief(
        one,
        two,
        elevator,
        time_saved(story, elevator or two or one or ""),
        AnalysisState.STUB if written.stub else AnalysisState.COMPLETED,
        job.id,
        PROMPT.version,
    )


def _kept(overlay: Overlay | None, job: JobContext, *, anew: bool, stub: bool = False) -> Brief | None:
    """Return the existing brief if it is kept; None if a new one is needed.

    Args:
        overlay: has the existing brief.
        job: a brief that this job wrote is kept.
        anew: whether to replace an existing brief.
        stub: whether a stub would write the new one, which never replaces a model's.
    """
    brief = None if overlay is None else overlay.brief
    if brief is not None and brief.missing and not stub:
        done = brief.briefed_by == job.id and job.retry_count > AI_BAD_ANSWERS
        return brief if done else None
    if brief is None or brief.briefed_by == job.id:
        return brief
    stays = (stub and not anew) if brief.state is AnalysisState.STUB else (stub or not anew)
    return brief if stays else None


def _is_whole(overlay: Overlay | None) -> bool:
    """Return whether there is a whole brief by a model."""
    brief = None if overlay is None else overlay.brief
    return brief is not None and not brief.missing and brief.state is AnalysisState.COMPLETED


def _result(job: JobContext, story_id: UUID, brief: Brief, *, written: bool) -> dict[str, Any]:
    saved = brief.time_saved_seconds
    job.logger.info("brief generated", storyId=str(story_id), written=written, timeSavedSeconds=saved)
    if brief.missing:
        job.logger.warning("brief incomplete", storyId=str(story_id), missing=list(brief.missing))
    return {
        "storyId": story_id,
        "briefOneLiner": brief.one_liner,
        "briefTwoLiner": brief.two_liner,
        "briefElevator": brief.elevator,
        "timeSavedSeconds": saved,
        "briefState": brief.state.value,
        "missing": list(brief.missing),
    }
