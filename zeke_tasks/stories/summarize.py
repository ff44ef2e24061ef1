"""``summarize-story``: set a story's summary of a few lines, from its analysis or text, without an AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.payloads import SummarizeStory
from zeke_tasks.stories.require import require_story, text_of
from zeke_tasks.text_rules import ELLIPSIS

if TYPE_CHECKING:
    from zeke_tasks.store.model import Story
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

SUMMARY_CHARACTERS: Final = 320

LONGEST_WORD: Final = 40
"""Maximum length of a word that is left out instead of cut."""


@tasks.task("summarize-story", concurrency_limit=4, aliases=("story-summarize",))
async def summarize_story(payload: SummarizeStory, job: JobContext) -> dict[str, Any]:
    """Set a story's summary: why it matters if it is analysed, else its beginning."""
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        summary, replace = story.summary, payload.mode == "force"
        written = False
        if replace or not summary:
            summary = await _summary(rows, story)
            written = await rows.set_summary(story.id, summary, replace=replace)
    job.logger.info("story summarized", storyId=str(story.id), mode=payload.mode, written=written)
    return {"storyId": story.id, "summary": summary, "written": written}


async def _summary(rows: Rows, story: Story) -> str:
    overlay = await rows.overlay(story.id)
    if overlay is not None and overlay.why_it_matters:
        return _cut(overlay.why_it_matters)
    # The summary of a long text can't use more than this.
    beginning = (await text_of(rows, story.id))[: 2 * SUMMARY_CHARACTERS]
    return _cut(f"{story.title} — {beginning}")


def _cut(text: str) -> str:
    """Cut a text after the last word that fits, or within a long word, such as a URL."""
    text = text.strip()
    if len(text) <= SUMMARY_CHARACTERS:
        return text
    kept = text[: SUMMARY_CHARACTERS - len(ELLIPSIS)]
    if not text[len(kept)].isspace() and len(words := kept.rsplit(None, 1)) > 1:
        kept = kept if len(words[1]) > LONGEST_WORD else words[0]
    return kept.rstrip() + ELLIPSIS
