"""Mutants of Zeke's own tasks and their store.

When jobs are sent, what is stored once, how often the AI is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.mutants.patching import Mutant, Tested, tested

if TYPE_CHECKING:
    from collections.abc import Mapping

POLITENESS: Final = "zeke_tasks.fetch.politeness"

RULES: Final[Mapping[str, str]] = {
    "each item is one raw item": "entries-known-by-their-links",
    "each raw item comes to an end": "missing-pages-not-given-up",
    "each text is one story": "story-twice",
    "a source that heals is healthy again": "failures-never-forgotten",
    "each story is told": "stub-over-a-model",
    "no job keeps an analysis or a brief twice": "brief-kept-again",
    "each story is highlighted once": "highlights-numbered-as-they-come",
    "each highlight is scored": "scored-while-extracted",
    "each insight is there once": "insights-known-as-they-are-spelt",
    "an insight is attached once": "known-insights-told-as-new",
    "what is read was viewed": "first-reading-not-viewed",
    "a run ends as its row says": "runs-end-before-it-is-told",
    "a step is one job a round": "steps-sent-with-each-attempt",
    "the AI is asked within its limit": "ai-limit-off-by-one",
}
"""For each rule of the newsroom a mutant that it finds, which shows that the rule is needed."""

_CRASHED: Final = ("tests/tasks/test_crashes.py", "--crash-points", "0", "-k")

BUDGETS: Final = "zeke_tasks.store.memory.budgets"

MUTANTS = (
    Mutant(
        "calls-in-progress-not-counted",
        BUDGETS,
        "        if limit is not None and used > limit:\n",
        "        held = sum((one.reservation.dollars for one in self._reservations.values()), _ZERO)\n"
        "        if limit is not None and used - held > limit:\n",
        "Only what calls have cost counts against a budget, so concurrent ones exceed it together.",
        where=("budgets",),
    ),
    Mutant(
        "calls-of-killed-workers-not-counted",
        BUDGETS,
        '        await self._lock([f"budget day {day}"])\n        used = (',
        "        for lost, one in list(self._reservations.items()):\n"
        "            if lost[0] == reservation.job_id and lost[1] < reservation.attempt:\n"
        "                await self.settle(*lost, _ZERO)\n"
        '        await self._lock([f"budget day {day}"])\n        used = (',
        "A job that runs again frees what its killed attempt had reserved, which that may have spent.",
        where=("budgets",),
    ),
    Mutant(
        "analysis-sent-after-its-story",
        "zeke_tasks.stories.items",
        "            if new or await _is_to_be_analysed(rows, story_id):\n"
        "                await _send_analysis(transaction, job, story_id)\n",
        "        else:\n"
        "            return\n"
        '    await job.send("analyze-story", AnalyzeStory(story_id=story_id, trigger="auto"))\n',
        "A story's analysis is sent once the story is there, and not at all if the worker dies between.",
        where=("catalog",),
    ),
    Mutant(
        "items-sent-after-they-are-kept",
        "zeke_tasks.ingest.source",
        "        await send_to_be_read(transaction, job, [*new, *forgotten])\n",
        "        job.resources.repository.within(transaction)\n"
        "    async with job.transaction() as transaction:\n"
        "        rows = context_of(job).repository.within(transaction)\n"
        "        await send_to_be_read(transaction, job, [*new, *forgotten])\n",
        "The jobs that read a feed's items are sent in a transaction after the one that keeps those.",
        where=("slice",),
    ),
    Mutant(
        "scored-while-extracted",
        "zeke_tasks.insights.extract",
        "        await transaction.send(\n",
        "        await job.send(\n",
        "Highlights are scored by a job that may run before they are there.",
    ),
    Mutant(
        "highlights-kept-again",
        "zeke_tasks.store.memory.highlights",
        "            if not self._known(highlight.story_id, highlight.team_id, {highlight.key}):\n",
        "            if highlight.key:\n",
        "A highlight that a story has already takes its own place, and has lost its score.",
        where=("catalog",),
    ),
    Mutant(
        "stub-over-a-model",
        "zeke_tasks.store.memory.analysis",
        "        if story is None or (is_model and analysis.state is AnalysisState.STUB):\n",
        "        if story is None or (is_model and analysis.state is AnalysisState.PENDING):\n",
        "A stub's analysis takes the place of a model's.",
        where=("catalog",),
    ),
    Mutant(
        "failures-never-forgotten",
        "zeke_tasks.store.memory.sources",
        "        self._checks.put(source_id, Check(health, None))\n",
        "        self._checks.put(source_id, Check(health, old.failing_since if old else None))\n",
        "A recovered source still counts as failing since its first failure.",
    ),
    Mutant(
        "ai-limit-off-by-one",
        "zeke_tasks.ai.limited",
        "        self._most = requests_per_minute\n"
        "        self._begun: deque[float] = deque(maxlen=requests_per_minute)\n",
        "        self._most = requests_per_minute + 1\n"
        "        self._begun: deque[float] = deque(maxlen=requests_per_minute + 1)\n",
        "One request more than the limit starts within a minute.",
    ),
    Mutant(
        "moves-forgotten",
        "zeke_tasks.ingest.checks",
        "    if await rows.move_source(source.id, place):\n",
        "    if place:\n",
        "The new URL of a moved feed is not saved.",
    ),
    Mutant(
        "items-given-up-soon",
        "zeke_tasks.stories.items",
        "        last = item.attempts + 1 >= ITEM_ATTEMPTS\n",
        "        last = item.attempts + 1 >= ITEM_ATTEMPTS // 2\n",
        "An item fails permanently after the attempts of one job.",
    ),
    Mutant(
        "pages-known-as-they-are-spelt",
        "zeke_tasks.ingest.oneoff",
        "        place = place_of(payload.url)\n",
        "        place = payload.url if place_of(payload.url) else payload.url\n",
        "A page whose URL is spelt differently counts as another page.",
    ),
    Mutant(
        "steps-sent-with-each-attempt",
        "zeke_tasks.playbooks.run",
        'key = f"{step.name}/{playing.failures[step.name]}"\n',
        'key = f"{step.name}/{min(job.attempt, 2)}"\n',
        "A run that continues after its first step sends that step again.",
        where=("catalog",),
    ),
    Mutant(
        "failed-runs-go-on",
        "zeke_tasks.playbooks.run",
        "        if await rows.end_run(playing.run.id, RunStatus.FAILED, reason):\n",
        "        if reason:\n",
        "A run whose step failed is shown as running.",
        where=("catalog",),
    ),
    Mutant(
        "story-twice",
        "zeke_tasks.store.memory.stories",
        "                return known, False\n",
        "                twin = changed(\n"
        "                    self._stories.get(known), id=story.content_id, status=StoryStatus.NEW\n"
        "                )\n"
        "                self._stories.put(twin.id, twin)\n"
        "                return twin.id, True\n",
        "A text that another item brings is another story, though the story of that text is there.",
        where=("catalog",),
    ),
    Mutant(
        "analysis-kept-again",
        "zeke_tasks.stories.analyze",
        "    if overlay.analysed_by == job.id:\n        return True\n",
        "",
        "A job that was lost after it had kept its analysis asks the AI again, and analyses twice.",
        where=("catalog",),
        rare=True,
    ),
    Mutant(
        "brief-kept-again",
        "zeke_tasks.briefs.generate",
        "    if brief is None or brief.briefed_by == job.id:\n",
        "    if brief is None:\n",
        "A job that was lost after it had kept its brief asks the AI again, and briefs twice.",
        where=("catalog:FEW_SOURCES",),
    ),
    Mutant(
        "highlights-numbered-as-they-come",
        "zeke_tasks.store.memory.highlights",
        "            if not self._known(highlight.story_id, highlight.team_id, {highlight.key}):\n"
        "                self._highlights.put(highlight.id, _stored(highlight))\n"
        "                new.append(highlight.id)\n",
        "            many = len(list(self._highlights.of(highlight.story_id)))\n"
        "            key = type(highlight.id)(int=highlight.id.int ^ many)\n"
        "            self._highlights.put(key, replace(_stored(highlight), id=key))\n"
        "            new.append(key)\n",
        "Highlights have a number for an id, and no unique key: a second extraction adds them again.",
        where=("catalog",),
    ),
    Mutant(
        "insights-known-as-they-are-spelt",
        "zeke_tasks.store.highlights",
        '    said = f"{storable(summary).strip().lower()}|',
        '    said = f"{storable(summary)}|',
        "An insight with other upper and lower case is another insight.",
        where=("catalog",),
    ),
    Mutant(
        "known-insights-told-as-new",
        "zeke_tasks.store.memory.highlights",
        "                new.append(highlight.id)\n",
        "            new.append(highlight.id)\n",
        "Attaching an existing insight reports that it was attached.",
        where=("catalog",),
    ),
    Mutant(
        "missing-pages-not-given-up",
        "zeke_tasks.stories.items",
        "        await _settle(job, item, ItemStatus.FAILED, str(error))\n",
        "        await _settle(job, item, ItemStatus.PENDING, str(error))\n",
        "An item whose page does not exist waits forever.",
        where=("catalog",),
    ),
    Mutant(
        "first-reading-not-viewed",
        "zeke_tasks.store.memory.teams",
        "            if state is ReadingState.READ:\n",
        "            if old is not None and state is ReadingState.READ:\n",
        "A team's first view of a story is not stored.",
        where=("catalog",),
    ),
    Mutant(
        "runs-end-before-it-is-told",
        "zeke_tasks.playbooks.run",
        "        if await rows.end_run(run.id, RunStatus.SUCCEEDED):\n",
        "        ended = await rows.end_run(run.id, RunStatus.SUCCEEDED)\n"
        "    async with _rows(job) as rows:\n"
        "        if ended:\n",
        "The success of a run is recorded in a transaction after the one that ends it.",
        where=("catalog:FEW_SOURCES",),
    ),
    Mutant(
        "entries-known-by-their-links",
        "zeke_tasks.ingest.source",
        "        external_id=entry.external_id,\n",
        "        external_id=entry.url or entry.external_id,\n",
        "An entry of a feed is known by the page that it links to, and not by its own identity.",
        where=("catalog",),
    ),
    Mutant(
        "videos-read-anew",
        "zeke_tasks.youtube.items",
        "        if other.id != item.id and (content",
        "        if other.id == item.id and (content",
        "A video that another source has brought is read again, and is another story if that one told more.",
        where=("catalog",),
    ),
    Mutant(
        "videos-kept-as-they-are-named",
        "zeke_tasks.youtube.items",
        "    if video_id is None:\n",
        "    if video_id is None or place != watch_url(video_id):\n",
        "A video that is named by another of its pages is an item of that page.",
        where=("catalog",),
    ),
    Mutant(
        "one-request-too-many-at-a-host",
        POLITENESS,
        "Semaphore(self._per_host)",
        "Semaphore(self._per_host + 1)",
        "A process makes one request more to a host at once than its limit.",
        where=("politeness",),
    ),
    Mutant(
        "politeness-counted-per-request",
        POLITENESS,
        "        if host not in self._hosts:\n            self._hosts[host]",
        "        if host not in self._hosts or self._hosts[host].users:\n            self._hosts[host]",
        "A request to a host does not count the others of its process.",
        where=("politeness",),
    ),
    Mutant(
        "turn-kept-by-what-is-interrupted",
        POLITENESS,
        "            async with entry.turns:\n",
        "            @asynccontextmanager\n"
        "            async def kept() -> AsyncGenerator[None]:\n"
        "                await entry.turns.acquire()\n"
        "                yield\n"
        "                entry.turns.release()\n\n"
        "            async with kept():\n",
        "A request that is interrupted or fails keeps its turn, and others wait forever.",
        where=("politeness",),
    ),
)

CRASHES: Final[tuple[Tested, ...]] = (
    tested(
        "manual-job-embeds-each-time",
        "zeke_tasks.stories.analyze",
        "        if not was_placed:\n",
        "        if not was_placed or again:\n",
        "A manual job pays for the embedding after each rate limit.",
        "tests/tasks/stories/test_analyze.py",
        "-k",
        "requested_once_per_job",
    ),
    tested(
        "cost-lost-with-the-job",
        "zeke_tasks.ai_calls",
        "job.transaction(lock=False)",
        "job.transaction()",
        "The cost of an unusable answer is lost if the job was cancelled meanwhile.",
        "tests/tasks/stories/test_analyze.py",
        "-k",
        "job_was_lost",
    ),
    tested(
        "variants-of-brief-not-kept",
        "zeke_tasks.briefs.generate",
        "        if fitted:\n            valid = await _keep_draft(job, ai, asked, valid)\n",
        "",
        "A job that is retried requests variants again that it has paid for.",
        "tests/tasks/briefs/test_generate.py",
        "-k",
        "kept_for_the_next_attempt",
    ),
    tested(
        "variants-of-any-analysis",
        "zeke_tasks.briefs.generate",
        "(draft.why_it_matters, draft.prompt_version) == wanted",
        "draft.prompt_version in wanted",
        "A brief has variants that were written from an earlier analysis.",
        "tests/tasks/briefs/test_generate.py",
        "-k",
        "earlier_analysis",
    ),
    tested(
        "malformed-answer-ends-the-attempt",
        "zeke_tasks.ai_calls",
        "isinstance(error, AIMalformed) and self.may_call(purpose)",
        "isinstance(error, AIMalformed) and self.may_call(failed)",
        "The limit of calls counts nothing, so that malformed answers of embeddings are requested forever.",
        "tests/tasks/stories/test_analyze.py",
        "-k",
        "unusable_vector",
    ),
    tested(
        "price-of-the-family",
        "zeke_tasks.ai.prices",
        'for name in (model, _SNAPSHOT.sub("", model))',
        'for name in (_SNAPSHOT.sub("", model), model)',
        "A model's snapshot costs what its family does, though it has a price of its own.",
        "tests/tasks/ai/test_openai.py",
        "-k",
        "usage_and_cost",
    ),
    tested(
        "closed-for-the-shorter-time",
        "zeke_tasks.ai.limited",
        "max(self._closed_until, self._clock.monotonic() + error.retry_after)",
        "self._clock.monotonic() + error.retry_after",
        "Of two rate limits, the one that ends first is kept.",
        "tests/tasks/ai/test_limited.py",
        "-k",
        "longer_of_two",
    ),
    tested(
        "date-without-zone-is-local",
        "zeke_tasks.fetch.answers",
        "moment = moment.replace(tzinfo=UTC)",
        "moment = moment.astimezone()",
        "A server's date without a zone counts as local time.",
        "tests/tasks/web/test_dates.py",
    ),
    tested(
        "embedding-recorded-before-it-is-stored",
        "zeke_tasks.stories.analyze",
        "                    await rows.put_embedding(story.id, placed)\n"
        "                    await ai.note(rows)\n",
        "                    await ai.note(rows)\n"
        "                async with job.transaction() as transaction:\n"
        "                    rows = repository.within(transaction)\n"
        "                    await rows.put_embedding(story.id, placed)\n",
        "A worker that dies after the record of an embedding's cost loses the embedding for good.",
        *_CRASHED,
        "memory and analysis",
    ),
    tested(
        "item-finished-before-its-story",
        "zeke_tasks.stories.items",
        "        if await rows.finish_item(item.id, ItemStatus.PROCESSED):\n",
        "        finished = await rows.finish_item(item.id, ItemStatus.PROCESSED)\n"
        "    async with job.transaction() as transaction:\n"
        "        rows = context_of(job).repository.within(transaction)\n"
        "        if finished:\n",
        "A worker that dies after an item is marked as processed leaves it without a story.",
        *_CRASHED,
        "memory and named_video",
    ),
    tested(
        "step-stored-before-its-event",
        "zeke_tasks.playbooks.run",
        "        await rows.put_output(playing.run.id, step.name, outcome.output)\n",
        "        await rows.put_output(playing.run.id, step.name, outcome.output)\n"
        "    async with _rows(job) as rows:\n",
        "A worker that dies after the output of a step is stored never records that the step was completed.",
        *_CRASHED,
        "memory and playbook",
    ),
)
"""Bugs between two statements, at which tests/tasks kills the worker."""
