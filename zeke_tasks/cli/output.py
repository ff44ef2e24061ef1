"""Output of stories: several with their briefs and best highlights, or one with all its details."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rich.text import Text

from zeke_queue.cli.render import NOTHING, moment
from zeke_tasks.cli.formatting import abbreviated, printable_words, wrapped
from zeke_tasks.store.analysis import CHILI_MAX, AnalysisState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from rich.console import Console

    from zeke_tasks.ai.settings import AISettings
    from zeke_tasks.store.analysis import Overlay, Spending
    from zeke_tasks.store.highlights import Highlight
    from zeke_tasks.stories.view import Neighbour, StoryView

TOP: Final = 2
"""Number of highlights shown per story in a list of stories."""

_LABEL: Final = 12


def print_stories(
    out: Console, stories: Sequence[StoryView], carriers: Mapping[UUID, Sequence[str]] | None = None
) -> None:
    """Print stories, each in a few lines.

    Args:
        out: the console.
        stories: the stories.
        carriers: names of the sources that carry each story, by the story's id; its own source by default.
    """
    out.print(Text(f"Stories ({len(stories)})", style="bold"))
    short = abbreviated(seen.story.id for seen in stories)
    for seen in stories:
        names = (carriers or {}).get(seen.story.id) or ([seen.source.name] if seen.source else [])
        out.print()
        _print_summary(out, seen, names, short[seen.story.id])


def _print_summary(out: Console, seen: StoryView, names: Sequence[str], short_id: str) -> None:
    story, overlay = seen.story, seen.overlay
    wrapped(out, story.title, style="bold")
    facts = [chili(overlay)] if seen.analysed else ["not analysed"]
    facts += [f"{story.published_at:%Y-%m-%d}"] if story.published_at else []
    facts += [", ".join(names)] if names else []
    facts += ["text incomplete"] if story.is_partial else []
    facts += [f"id {short_id}"]
    wrapped(out, " · ".join(facts), "  ", style="cyan")
    if story.url:
        out.print(Text(f"  {printable_words(story.url)}", style="bright_black"), soft_wrap=True)
    if overlay is not None and overlay.brief_state is not None:
        _labelled(out, "one line", overlay.brief_one_liner or NOTHING)
        _labelled(out, "two lines", overlay.brief_two_liner or NOTHING)
    for number, highlight in enumerate(islice(seen.highlights, TOP)):
        _labelled(out, "" if number else "highlights", _in_short(highlight))


def _labelled(out: Console, label: str, words: str) -> None:
    wrapped(out, words, f"  {label:<{_LABEL}}")


def _in_short(highlight: Highlight) -> str:
    return f"{_score(highlight)} {highlight.kind}: {highlight.title or highlight.summary}"


def _score(highlight: Highlight) -> str:
    return f"{highlight.score.value:.2f}" if highlight.score else "–   "


def chili(overlay: Overlay | None) -> str:
    """Format a story's chili score."""
    return f"chili {overlay.chili if overlay and overlay.chili is not None else '–'}/{CHILI_MAX}"


def print_story(out: Console, seen: StoryView, near: Sequence[Neighbour] = ()) -> None:
    """Print all details of one story."""
    story, source, overlay = seen.story, seen.source, seen.overlay
    wrapped(out, story.title, style="bold")
    facts = {
        "id": str(story.id),
        "url": story.url,
        "kind": story.kind.value,
        "published": moment(story.published_at) if story.published_at else None,
        "source": f"{source.name} ({source.type}, {source.id})" if source else None,
        "text": "a part of the page's article" if story.is_partial else None,
        "analysed": who(overlay) or "not yet",
        "chili": f"{overlay.chili} of {CHILI_MAX}" if overlay and overlay.chili is not None else None,
        "confidence": f"{overlay.confidence:.2f}" if overlay and overlay.confidence is not None else None,
        "summary": story.summary,
    }
    for name, value in facts.items():
        if value:
            _labelled(out, name, value)
    if overlay is not None and overlay.why_it_matters:
        _heading(out, "Why it matters")
        for bullet in overlay.why_it_matters.splitlines():
            wrapped(out, bullet, "  • ")
    print_brief(out, seen)
    if seen.highlights:
        _heading(out, f"Highlights ({len(seen.highlights)})")
    for highlight in seen.highlights:
        _print_highlight(out, highlight)
    if near:
        _heading(out, "Nearest stories")
    short = abbreviated(one.story.id for one in near)
    for one in near:
        wrapped(out, one.story.title, f"  {one.similarity:.2f}  {short[one.story.id]}  ")


def print_brief(out: Console, seen: StoryView) -> None:
    """Print the variants of a story's brief, if it has one."""
    overlay = seen.overlay
    brief = None if overlay is None else overlay.brief
    if overlay is None or brief is None:
        return
    variants = (
        ("In one line", overlay.brief_one_liner),
        ("In two sentences", overlay.brief_two_liner),
        (f"In short{_saved(overlay)}", overlay.brief_elevator),
    )
    for name, words in variants:
        _heading(out, name)
        wrapped(out, words or NOTHING, "  ")
    if brief.missing:
        out.print()
        missing = " and ".join(name.replace("_", "-") for name in brief.missing)
        wrapped(out, f"Without {missing}, which the AI did not write as requested.", "  ")
    if overlay.brief_state is AnalysisState.STUB and overlay.analysis_state is AnalysisState.COMPLETED:
        out.print()
        wrapped(out, "The brief is by the stub (not an AI).", "  ")


def _saved(overlay: Overlay) -> str:
    seconds = overlay.time_saved_seconds or 0
    minutes, rest = divmod(seconds, 60)
    return f" (saves {f'{minutes} min ' if minutes else ''}{rest} s of reading)" if seconds else ""


def _print_highlight(out: Console, highlight: Highlight) -> None:
    head = f"  {_score(highlight)}  "
    wrapped(out, f"{highlight.kind}: {highlight.title or highlight.summary}", head)
    if highlight.quote and printable_words(highlight.quote) != printable_words(highlight.summary):
        for line in highlight.quote.splitlines():
            # Indentation is significant in code, so it is kept.
            blank = " " * (len(line) - len(line.lstrip(" ")))
            wrapped(out, line, f"{' ' * len(head)}│ {blank}", style="bright_black")
    if highlight.tags:
        wrapped(out, ", ".join(highlight.tags), f"{' ' * len(head)}tags: ")


def _heading(out: Console, words: str) -> None:
    out.print()
    out.print(Text(words, style="bold"))


def who(overlay: Overlay | None) -> str | None:
    """Return the name of the model that analysed a story; None if it is not analysed."""
    if overlay is None or overlay.analysis_state is AnalysisState.PENDING:
        return None
    model = "the stub (not an AI)" if overlay.analysis_state is AnalysisState.STUB else overlay.model
    return f"by {model}" + (f", {moment(overlay.analysed_at)}" if overlay.analysed_at else "")


def describe_ai(settings: AISettings) -> str:
    """Return what answers questions about stories, and the setting that changes it."""
    if settings.asks == "openai":
        host = urlsplit(settings.openai_base_url).hostname or "its server"
        return f"{settings.openai_model} at {host} reads the stories, with the key of OPENAI_API_KEY."
    if settings.zeke_ai == "stub":
        return "No AI reads the stories, since ZEKE_AI is stub: a stub quotes the text and counts words."
    return (
        "No AI reads the stories: a stub quotes the text and counts words. To use OpenAI's"
        f" {settings.openai_model} instead, set OPENAI_API_KEY."
    )


def print_models_and_cost(out: Console, stories: Iterable[StoryView], spent: Sequence[Spending]) -> None:
    """Print what analysed some stories, and the cost."""
    known = [seen.overlay for seen in stories if seen.overlay is not None]
    models = dict.fromkeys(
        overlay.model or "a model" for overlay in known if overlay.analysis_state is AnalysisState.COMPLETED
    )
    if models:
        wrapped(out, f"Analysed by {', '.join(models)}.")
    if any(overlay.analysis_state is AnalysisState.STUB for overlay in known):
        wrapped(out, "Analysed by the stub (not an AI), which quotes the text and counts words.")
    by_model: dict[str, list[Spending]] = defaultdict(list)
    for one in spent:
        by_model[one.model].append(one)
    for model, calls in sorted(by_model.items()):
        wrapped(out, f"{model}: {_cost(calls)}")


def _cost(calls: Sequence[Spending]) -> str:
    tokens = sum(one.input_tokens for one in calls), sum(one.output_tokens for one in calls)
    priced = [one.cost_usd for one in calls if one.cost_usd is not None]
    dollars = f"${sum(priced):.4f}" if len(priced) == len(calls) else "at an unknown price"
    calls_said = f"{len(calls)} call{'s' if len(calls) > 1 else ''}"
    return f"{calls_said}, {tokens[0]:,} tokens in and {tokens[1]:,} out, {dollars}."
