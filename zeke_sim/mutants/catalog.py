"""Slips in Zeke's own tasks and in their store: what is sent when, kept once, asked how often."""

from __future__ import annotations

from zeke_sim.mutants.patching import Mutant

MUTANTS = (
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
        '        await transaction.send(\n            "score-relevance", score,',
        '        await job.send(\n            "score-relevance", score,',
        "Highlights are scored by a job that may run before they are there.",
    ),
    Mutant(
        "highlights-kept-again",
        "zeke_tasks.store.memory.highlights",
        "            if not self._known(highlight.story_id, highlight.team_id, {highlight.key}):\n",
        "            if highlight.key:\n",
        "A highlight that a story has already is added again.",
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
        "A source that is well again counts as failing since it first failed.",
    ),
    Mutant(
        "ai-limit-off-by-one",
        "zeke_tasks.ai.limited",
        "        self._most = requests_per_minute\n"
        "        self._begun: deque[float] = deque(maxlen=requests_per_minute)\n",
        "        self._most = requests_per_minute + 1\n"
        "        self._begun: deque[float] = deque(maxlen=requests_per_minute + 1)\n",
        "One request more than the limit says begins within a minute.",
    ),
    Mutant(
        "moves-forgotten",
        "zeke_tasks.ingest.checks",
        "    if await rows.move_source(source.id, place):\n",
        "    if place:\n",
        "Where a feed has moved for good is not saved.",
    ),
    Mutant(
        "items-given-up-soon",
        "zeke_tasks.stories.items",
        "        last = item.attempts + 1 >= ITEM_ATTEMPTS\n",
        "        last = item.attempts + 1 >= ITEM_ATTEMPTS // 2\n",
        "An item is given up after the attempts of one job.",
    ),
    Mutant(
        "pages-known-as-they-are-spelt",
        "zeke_tasks.ingest.oneoff",
        "        place = place_of(payload.url)\n",
        "        place = payload.url if place_of(payload.url) else payload.url\n",
        "A page that is named in another spelling is another page.",
    ),
    Mutant(
        "steps-sent-with-each-attempt",
        "zeke_tasks.playbooks.run",
        'key = f"{step.name}/{playing.failures[step.name]}"\n',
        'key = f"{step.name}/{job.attempt}"\n',
        "A run that goes on after its step has ended sends the step again.",
    ),
    Mutant(
        "failed-runs-go-on",
        "zeke_tasks.playbooks.run",
        "        if await rows.end_run(playing.run.id, RunStatus.FAILED, reason):\n",
        "        if reason:\n",
        "A run whose step failed is said to be running.",
        where=("catalog",),
    ),
)
