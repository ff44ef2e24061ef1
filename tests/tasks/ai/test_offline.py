"""The clients that need no network: the stub, and embeddings by WordLlama."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from tests.tasks.ai.samples import PROMPT, TEXT, Colour
from zeke_queue.errors import SettingsError
from zeke_tasks.ai import (
    AIRejected,
    AIUnavailable,
    Analysis,
    Briefs,
    StubClient,
    Usage,
)
from zeke_tasks.ai.wordllama import WordLlama, embed_words
from zeke_tasks.context import inline
from zeke_tasks.fetch.parser_pool import ParserKilled, ParserPool, Unreadable

STORY = (
    "Postgres 18 is released\n"
    "The new release brings asynchronous reads, which makes scans up to three times faster. "
    "Version 3.11 of the driver works with it. Nobody has to migrate by hand! "
    "There is cake at the party. It was a nice day.\n"
    "A security fix for an old API is in it, too."
)


async def test_answers_are_marked_as_stub_and_free() -> None:
    ai = StubClient()
    answer, embedded = await ai.ask(PROMPT, TEXT, Analysis), await ai.embed([TEXT])
    assert answer.stub
    assert embedded.stub
    assert embedded.model == "stub"
    assert answer.usage == embedded.usage == Usage("stub", 0, 0, 0.0)


async def test_bullets_are_sentences_with_keywords_first() -> None:
    value = (await StubClient().ask(PROMPT, STORY, Analysis)).value
    assert value.why_it_matters == [
        "The new release brings asynchronous reads, which makes scans up to three times faster.",
        "Nobody has to migrate by hand!",
        "A security fix for an old API is in it, too.",
    ]
    assert value.chili == 5
    assert [citation.quote for citation in value.citations] == value.why_it_matters
    assert 0 < value.confidence < 0.1
    value = (await StubClient().ask(PROMPT, "It was a nice day.", Analysis)).value
    assert (value.why_it_matters, value.chili, value.confidence) == (["It was a nice day."], 0, 0.0)


async def test_confidence_grows_with_the_text_up_to_a_half() -> None:
    confidence = [
        (await StubClient().ask(PROMPT, "Word. " * words, Analysis)).value.confidence
        for words in (1, 100, 1000, 10_000)
    ]
    assert confidence == sorted(confidence)
    assert confidence[-1] == 0.5


async def test_briefs_are_the_first_sentences() -> None:
    value = (await StubClient().ask(PROMPT, STORY, Briefs)).value
    assert value.one_liner.startswith("The new release brings asynchronous reads")
    assert value.two_liner.endswith("three times faster. Version 3.11 of the driver works with it.")
    assert value.elevator.endswith("There is cake at the party.")
    assert "Version 3.11 of the driver works with it." in value.elevator


async def test_titles_and_repeated_sentences_are_left_out() -> None:
    text = "Bees\nBees make honey.\nBees\nBees make honey. They live in hives."
    value = (await StubClient().ask(PROMPT, text, Briefs)).value
    assert value.elevator == "Bees make honey. They live in hives."
    assert (await StubClient().ask(PROMPT, "Bees\nBees", Briefs)).value.elevator == "Bees"


async def test_quotes_of_endless_sentences_are_limited() -> None:
    ai, text = StubClient(), "and then they said " * 1000
    assert len((await ai.ask(PROMPT, text, Briefs)).value.elevator) <= 1000
    (bullet,) = (await ai.ask(PROMPT, text, Analysis)).value.why_it_matters
    assert len(bullet) <= 240


@given(st.text(), st.sampled_from([Analysis, Briefs]))
async def test_any_text_with_letters_has_one_answer(text: str, form: type[Analysis | Briefs]) -> None:
    try:
        first = await StubClient().ask(PROMPT, text, form)
    except AIRejected:
        assert not any(character.isalpha() for character in text)
    else:
        assert first == await StubClient().ask(PROMPT, text, form)


async def test_unknown_form_is_rejected_with_advice() -> None:
    with pytest.raises(AIRejected, match="Colour: set OPENAI_API_KEY"):
        await StubClient().ask(PROMPT, TEXT, Colour)


async def test_vectors_have_length_1_and_related_texts_are_near() -> None:
    texts = ["The database is fast.", "The databases are fast!", "Cake for everyone"]
    vectors = (await StubClient().embed(texts)).vectors
    assert all(len(vector) == 1536 for vector in vectors)
    assert all(math.hypot(*vector) == pytest.approx(1) for vector in vectors)
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[other], strict=True)) for other in (1, 2))
    assert near > 0.5 > far


async def test_answers_are_the_same_on_every_machine() -> None:
    ai = StubClient()
    text = STORY + " Größe, 日本語, İstanbul, ǅ, 🦓."
    told = [
        (await ai.ask(PROMPT, text, Analysis)).value.model_dump_json(),
        (await ai.ask(PROMPT, text, Briefs)).value.model_dump_json(),
        json.dumps((await ai.embed([text])).vectors),
    ]
    seen = [hashlib.sha256(one.encode()).hexdigest()[:16] for one in told]
    assert seen == ["7126c406330e4835", "3cf616aa8cab8047", "dfda1923f5f3295d"]


TEXTS = ["The database answers slowly.", "Postgres queries take long.", "A recipe for apple pie."]


async def test_related_texts_are_nearer_than_others() -> None:
    embedded = await WordLlama().embed(TEXTS)
    first, second, other = embedded.vectors
    assert _cosine(first, second) > _cosine(first, other) + 0.1
    assert (embedded.model, embedded.dimensions) == ("wordllama-l2-supercat-256", 256)
    assert embedded.usage == Usage("wordllama-l2-supercat-256", 0, 0, 0.0)
    assert not embedded.stub


def _cosine(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_embedding_in_reader_processes() -> None:
    async with ParserPool(most=1) as readers:
        embedded = await WordLlama(readers).embed(TEXTS)
    assert embedded.vectors == tuple(embed_words(TEXTS))


OFFLINE = """
import socket, sys

def refuse(*args, **options):
    raise AssertionError(f"the network is touched: {args}")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
sys.addaudithook(lambda event, args: refuse(event, args) if event.startswith("socket.") else None)

import logging
from zeke_tasks.ai.wordllama import embed_words

(vector,) = embed_words(["A text"])
assert len(vector) == 256
assert not logging.getLogger().handlers, "the library has set up logging"
assert logging.getLogger().level == logging.WARNING
print("done")
"""


def test_loading_needs_no_network_and_leaves_logging_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert list(tmp_path.iterdir()) == [], "nothing is downloaded"


@each((Unreadable("it takes too long"), AIRejected), (ParserKilled("killed"), AIUnavailable))
async def test_process_failures_are_ai_errors(met: Exception, expected: type[Exception]) -> None:
    async def compute(function: Callable[..., Any], /, *args: Any, **options: Any) -> NoReturn:
        raise met

    with pytest.raises(expected, match=str(met)):
        await WordLlama(compute).embed(TEXTS)


async def test_embedding_runs_outside_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def embed(texts: list[str]) -> list[tuple[float, ...]]:
        threads.append(threading.current_thread().name)
        return [(1.0,) for _ in texts]

    monkeypatch.setattr("zeke_tasks.ai.wordllama.embed_words", embed)
    await WordLlama().embed(TEXTS)
    await WordLlama(inline).embed(TEXTS)
    assert threads[0] != threading.current_thread().name
    assert threads[1] == threading.current_thread().name


def test_vector_of_a_text_without_words() -> None:
    (vector,) = embed_words(["\u200b"])
    assert _cosine(vector, vector) == pytest.approx(1.0 if any(vector) else 0.0)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("zeke_tasks.ai.wordllama.version", version)
    with pytest.raises(SettingsError, match="the extra `wordllama`"):
        WordLlama()
